"""The settings of load tests. The variable of a setting is `LOADTEST_` and the field's name in capitals."""

import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from loadtests.mixes import MIXES

PREFIX = "LOADTEST_"
PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_URL = "http://127.0.0.1:3000"
# The callers with keys, and the field with the key of each.
KEY_FIELDS = {"steady": "key", "noisy": "noisy_key"}
# A finite number above 0.
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# The steady callers' limit must be above the load; the noisy neighbour's is there to be exceeded.
_EXAMPLE_LIMITS = {"steady": "100000/minute", "noisy": "1/second"}


class LoadSettings(BaseSettings):
    """The settings of a run.

    Attributes:
        url: a server that already runs; unset: one is started for the test.
        key: the key of the steady callers. Its limit must be above the load.
        noisy_key: the key of the noisy neighbour, with a small limit, which it exceeds.
        database_url: the database in which the rows of the usage log are counted; set if the test started the server.
        mix: which callers run; see `mixes.py`.
        rate: requests per second; unset: a share of the knee, which is measured first.
        share: the share of the knee; unset: the share of the mix.
        seconds: how long a mix runs; `soak` takes ten times as long.
        finds_knee: whether this run finds the knee of the mix, instead of testing at a share of it.
        slo: the file with the SLOs.
        results: the folder in which reports are written.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    url: str | None = None
    key: SecretStr = SecretStr("")
    noisy_key: SecretStr = SecretStr("")
    database_url: str | None = None
    mix: str = "steady"
    rate: Positive | None = None
    share: Positive | None = None
    seconds: Positive = 60.0
    finds_knee: bool = False
    slo: Path = PROJECT / "loadtests" / "slo.toml"
    results: Path = PROJECT / "var" / "loadtest"

    @field_validator("mix")
    @classmethod
    def _mix_is_known(cls, name: str) -> str:
        if name not in MIXES:
            raise ValueError(f"choose one of {', '.join(MIXES)}")
        return name

    @field_validator("url")
    @classmethod
    def _url_is_of_a_server(cls, url: str | None) -> str | None:
        return None if url is None else server_url(url)

    @field_validator("key", "noisy_key")
    @classmethod
    def _key_fits_a_header(cls, key: SecretStr) -> SecretStr:
        """Refuse here what HTTP libraries refuse with a message that shows the key."""
        stripped = key.get_secret_value().strip()
        if not (stripped.isascii() and stripped.isprintable()):
            raise ValueError("this is no API key: it has characters that no key has")
        return SecretStr(stripped)

    @property
    def host(self) -> str:
        """The server that Locust calls unless it is given another."""
        return self.url or DEFAULT_URL

    @property
    def who(self) -> list[str]:
        """The callers of the mix, each of which has a key."""
        return ["steady", "noisy"] if MIXES[self.mix].extra_callers == "noisy" else ["steady"]

    def missing_key(self) -> str | None:
        """Return one line that says which key must be set, and how to make one; None if none is missing."""
        for one in self.who:
            if not self.key_of(one):
                command = f"python -m auth create --email {one}@example.org --limit {_EXAMPLE_LIMITS[one]}"
                return f"Set {PREFIX}{KEY_FIELDS[one].upper()} to an API key of the server; '{command}' makes one."
        return None

    def key_of(self, who: str) -> str:
        """Return the key of the caller "steady" or "noisy"; empty if it is not set."""
        return (self.noisy_key if who == "noisy" else self.key).get_secret_value()


def server_url(url: str) -> str:
    """Return the URL of a server as it is used: without spaces around it or a slash at its end.

    Raises:
        ValueError: it is no such URL.
    """
    with suppress(ValueError):  # the port is no number, or too large
        parts = urlsplit(url.strip().rstrip("/"))
        names_a_server = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if names_a_server and not (parts.path or parts.query or parts.fragment or "@" in parts.netloc):
            return f"{parts.scheme}://{parts.netloc}"
    raise ValueError(f"give only the scheme, host and port of the server, such as {DEFAULT_URL}")


@cache
def load_settings() -> LoadSettings:
    """Return the settings of this process. A wrong one ends the process with a line that names the setting."""
    try:
        settings = LoadSettings()
        settings.results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"{PREFIX}RESULTS: {error}.")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        said = first["msg"].removeprefix("Value error, ")
        stop(f"{PREFIX}{str(first['loc'][0]).upper()}: {said}.")
    return settings


def stop(why: str) -> NoReturn:
    """End the process with one line and the exit code for "no verdict"; 1 would say that an SLO was missed."""
    print(f"ERROR: {why}", file=sys.stderr)
    sys.exit(2)
