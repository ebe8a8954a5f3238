"""Names what is wrong with a store, by the errors of its driver: for the operator, and for callers."""

import errno
import sqlite3
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.errors import StorageUnavailable

_SETTING = "CLASSIFIER_DATABASE_URL"
_AGAIN = "send the request again shortly"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong: a sentence for the operator, and one for callers, who can only wait."""

    operator: str
    caller: str = f"The service can't reach its database; {_AGAIN}."

    def error(self) -> StorageUnavailable:
        """The error that says so."""
        return StorageUnavailable(self.operator, self.caller)


_TAKES_NONE = f"The service's database takes no changes just now; {_AGAIN}."
_BUSY = f"The service's database is busy; {_AGAIN}."

UNREACHABLE = Fault(f"The database can't be reached; check that it runs, and {_SETTING}.")
UNKNOWN_HOST = Fault(f"The database's host is not known; check {_SETTING}.")
LOGIN = Fault(f"The database refuses the user or the password; check {_SETTING}.")
NO_DATABASE = Fault(f"The database server has no such database; create it, or check {_SETTING}.")
CONNECTION = Fault(f"The database refuses how it is connected to, such as TLS or an option; check {_SETTING}.")
TOO_MANY = Fault("The database has no connection left; allow more of them, or run fewer workers.", _BUSY)
STARTING = Fault("The database is starting, or being stopped; wait for it.")
SLOW = Fault("The database took too long over a question; look what keeps it busy.", _BUSY)
LOCKED = Fault(
    "The database is locked by another program; end what holds it open for writing.",
    f"The service's database is locked by another program; {_AGAIN}.",
)
PERMISSION = Fault(
    f"The database's user, or this process, may not write there; check the rights and {_SETTING}.", _TAKES_NONE
)
READ_ONLY = Fault(
    f"The database can only be read: a replica, or a file without the right to write; check {_SETTING}.", _TAKES_NONE
)
FULL = Fault("The database's disk is full; make room on it.", _TAKES_NONE)
NOT_A_DATABASE = Fault(
    f"The file that {_SETTING} names is no SQLite database, or a damaged one; put a backup in its place."
)
NO_FILE = Fault(f"The database's file can't be opened or made there; check the path in {_SETTING} and its rights.")
NO_TABLES = Fault("The database lacks tables of this version; run 'python -m auth migrate'.", _TAKES_NONE)
FAILING = Fault("The database's disk can't be read or written; look at the machine's log.", _TAKES_NONE)

_OF_SQLITE = {
    "SQLITE_BUSY": LOCKED,
    "SQLITE_LOCKED": LOCKED,
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_PERM": PERMISSION,
    "SQLITE_AUTH": PERMISSION,
    "SQLITE_FULL": FULL,
    "SQLITE_IOERR": FAILING,
    "SQLITE_CANTOPEN": NO_FILE,
    "SQLITE_NOTADB": NOT_A_DATABASE,
    "SQLITE_CORRUPT": NOT_A_DATABASE,
    "SQLITE_NOMEM": FAILING,
}
# SQLSTATE, whole or by its class (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_OF_POSTGRESQL = {
    "28": LOGIN,
    "3D": NO_DATABASE,
    "3F": NO_TABLES,
    "42P01": NO_TABLES,
    "42703": NO_TABLES,
    "42501": PERMISSION,
    "25006": READ_ONLY,
    "53100": FULL,
    "53300": TOO_MANY,
    "53": FAILING,
    "55P03": SLOW,
    "57014": SLOW,
    "57P": STARTING,
    "58": FAILING,
    "40": SLOW,
    "08": UNREACHABLE,
}
# A connection that fails has no SQLSTATE, only the server's or the driver's words.
_IN_WORDS = (
    ("too many", TOO_MANY),
    ("remaining connection slots", TOO_MANY),
    ("password", LOGIN),
    ("authentication", LOGIN),
    ("role ", LOGIN),
    ("no pg_hba.conf entry", LOGIN),
    ("no such user", LOGIN),
    ("no such database", NO_DATABASE),
    ("does not exist", NO_DATABASE),
    ("resolve", UNKNOWN_HOST),
    ("starting up", STARTING),
    ("shutting down", STARTING),
    ("ssl", CONNECTION),
    ("certificate", CONNECTION),
    ("unsupported startup parameter", CONNECTION),
    ("configuration parameter", CONNECTION),
    ("invalid", CONNECTION),
)
_OF_SYSTEM = {errno.ENOSPC: FULL, errno.EROFS: READ_ONLY, errno.EACCES: PERMISSION, errno.EPERM: PERMISSION}


def of(error: Exception) -> Fault | None:
    """What is wrong with the database; None where the error is one of the program."""
    if isinstance(error, PoolTimeout):
        return TOO_MANY
    if isinstance(error, OSError):
        return _OF_SYSTEM.get(error.errno or 0, NO_FILE)
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    known = _of_state(getattr(cause, "sqlstate", None) or "")
    if known is None and isinstance(error, (OperationalError, InterfaceError)):
        return _in_words(str(cause))
    return known


def _of_sqlite(cause: sqlite3.Error) -> Fault | None:
    name = getattr(cause, "sqlite_errorname", None) or ""
    # Of an extended name, such as SQLITE_IOERR_WRITE, the first two words count.
    found = _OF_SQLITE.get("_".join(name.split("_")[:2]))
    if found is None and isinstance(cause, sqlite3.OperationalError):
        return NO_TABLES if "no such" in str(cause) else FAILING
    return found


def _of_state(state: str) -> Fault | None:
    return next((_OF_POSTGRESQL[state[:size]] for size in (5, 3, 2) if state[:size] in _OF_POSTGRESQL), None)


def _in_words(words: str) -> Fault:
    words = words.lower()
    return next((fault for word, fault in _IN_WORDS if word in words), UNREACHABLE)
