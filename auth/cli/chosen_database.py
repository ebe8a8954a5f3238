"""Chooses the database of a command: the one that is set, or that of the running server."""

from dataclasses import dataclass
from typing import Any

from configs.settings import Settings
from runtime import running_servers
from storage import urls
from storage.errors import Refused


@dataclass(frozen=True)
class ChosenDatabase:
    """The database that a command works on.

    Attributes:
        url: its checked URL.
        is_servers: whether it is that of the running server, and not the one that the settings name.
    """

    url: str
    is_servers: bool

    def __str__(self) -> str:
        """Return what operators see: no user, no password."""
        return urls.shown(self.url) + (", of the running server" if self.is_servers else "")


def chosen_database(settings: Settings) -> ChosenDatabase:
    """Return the database that is set. If none is, return that of the server that started last and still runs.

    Raises:
        Refused: its password is needed, which the server does not write down.
    """
    own = ChosenDatabase(settings.database_url, False)
    if "database_url" in settings.model_fields_set:
        return own
    written = _written_down(settings)
    if written is None:
        return own
    url = str(written.get("database_url"))
    if url == urls.without_password(own.url)[0]:
        return own
    if written.get("has_password"):
        raise Refused(
            f"The running server uses {urls.shown(url)}, whose password is not written down; "
            "set CLASSIFIER_DATABASE_URL as for the server."
        )
    return ChosenDatabase(url, True)


def _written_down(settings: Settings) -> dict[str, Any] | None:
    try:
        return running_servers.last_started(settings.data_folders()[0])
    except ValueError:
        return None
