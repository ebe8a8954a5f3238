"""Defines what each command gets and returns, and asks the operator before a command destroys something."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from auth.cli.actor import actor
from auth.cli.table import Table
from configs.settings import Settings
from storage import audit
from storage.audit import Entry
from storage.clock import unix_us
from storage.database import Database
from storage.errors import Refused
from storage.keys import KEY_MEMORY_S
from storage.policy import Limit

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What all commands need.

    Attributes:
        database: the database, with this version's tables.
        default_limits: the limits of a new user if the command names none.
        settings: all settings.
    """

    database: Database
    default_limits: tuple[Limit, ...]
    settings: Settings

    def change_keys(self, change: Callable[[Any], T]) -> T:
        """Make a change in a transaction; return its result once no worker uses a key as it was before.

        Workers cache what they read of a key for `KEY_MEMORY_S`.

        Args:
            change: makes the change, given a connection.
        """
        changed = self.database.change(change)
        time.sleep(KEY_MEMORY_S)
        return changed


@dataclass(frozen=True)
class Answer:
    """What a command prints: a JSON document; or a text or tables with the same content.

    `is_notice`: the text goes to standard error, since the command has written something else to standard output.
    """

    document: dict[str, Any]
    text: str | None = None
    tables: tuple[Table, ...] = ()
    is_notice: bool = False


def record(connection: Any, action: str, user_id: str | None, key_id: str | None, detail: dict[str, Any]) -> None:
    """Write a change to the audit log, in the transaction of the change."""
    audit.record(connection, Entry(unix_us(), actor(), action, user_id, key_id, detail))


def confirm(yes: bool, question: Callable[[], str], *, unattended: bool = False) -> None:
    """Ask the operator whether to go on.

    Args:
        yes: whether the command line says yes already; then nobody is asked.
        question: returns the question; called only if somebody is asked.
        unattended: whether to go on without asking if there is no terminal, as in a nightly job.

    Raises:
        Refused: the operator does not agree, or there is no terminal to ask on.
    """
    if yes:
        return
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        if unattended:
            return
        raise Refused("This can't be undone, and there is no terminal to ask on. Add --yes if you are sure.")
    # Not `input`: it would write the question to standard output, into the JSON.
    print(f"{question()} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Refused("Nothing was changed.")
