"""Translates errors of the database drivers into faults: one sentence for the operator, and one for callers."""

import errno
import sqlite3
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.errors import StorageUnavailable

SETTING = "CLASSIFIER_DATABASE_URL"
_RETRY = "send the request again shortly"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a store.

    Attributes:
        operator: what is wrong, and what to do about it.
        caller: what callers are told, who can only retry.
        only_changes_fail: whether reads may still be answered.
    """

    operator: str
    caller: str = f"The database is away; {_RETRY}."
    only_changes_fail: bool = False

    def error(self) -> StorageUnavailable:
        """Return a new exception of this fault."""
        return StorageUnavailable(self.operator, self.caller, self.only_changes_fail)


_NOT_WRITABLE = f"The database accepts no changes at the moment; {_RETRY}."
_BUSY = f"The database is busy; {_RETRY}."

UNREACHABLE = Fault(f"The database can't be reached; check that it runs, and {SETTING}.")
UNKNOWN_HOST = Fault(f"The database's host is not known; check {SETTING}.")
LOGIN = Fault(f"The database refuses the user or the password; check {SETTING}.")
NO_DATABASE = Fault(f"The database server has no such database; create it, or check {SETTING}.")
CONNECTION = Fault(f"The database refuses how it is connected to, such as TLS or an option; check {SETTING}.")
TOO_MANY = Fault(
    "The database has no connection left; allow more of them, or run fewer workers.", _BUSY, only_changes_fail=True
)
STARTING = Fault("The database is starting or stopping; wait for it.")
SLOW = Fault("The database took too long to answer a query; check what keeps it busy.", _BUSY, only_changes_fail=True)
LOCKED = Fault(
    "The database is locked by another program; end what holds it open for writing.",
    f"The database is locked by another program; {_RETRY}.",
    only_changes_fail=True,
)
PERMISSION = Fault(
    f"The database's user, or this process, may not write there; check the permissions and {SETTING}.",
    _NOT_WRITABLE,
    only_changes_fail=True,
)
READ_ONLY = Fault(
    f"The database can only be read: it is a replica, or a file without write permission; check {SETTING}.",
    _NOT_WRITABLE,
    only_changes_fail=True,
)
FULL = Fault("The database's disk is full; free some space.", _NOT_WRITABLE, only_changes_fail=True)
NOT_A_DATABASE = Fault(f"The file that {SETTING} names is no SQLite database, or is damaged; restore a backup.")
NO_FILE = Fault(
    f"The database's file can't be opened or created; check the path in {SETTING} or CLASSIFIER_DATA_DIR, and its "
    "permissions."
)
REPLACED = Fault(
    "The database's file was removed or replaced while it was open, so what is written would be lost; put that file "
    "back, or restart the server."
)
NO_TABLES = Fault(
    "The database lacks tables of this version; run 'python -m auth migrate'.", _NOT_WRITABLE, only_changes_fail=True
)
FAILING = Fault(
    "The database's disk can't be read or written; check the machine's log.", _NOT_WRITABLE, only_changes_fail=True
)

_BY_SQLITE_ERROR = {
    "SQLITE_BUSY": LOCKED,
    "SQLITE_LOCKED": LOCKED,
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_PERM": PERMISSION,
    "SQLITE_AUTH": PERMISSION,
    "SQLITE_FULL": FULL,
    # The index of the write-ahead log, a file beside the database, can't be made longer.
    "SQLITE_IOERR_SHMSIZE": FULL,
    "SQLITE_IOERR": FAILING,
    "SQLITE_CANTOPEN": NO_FILE,
    "SQLITE_NOTADB": NOT_A_DATABASE,
    "SQLITE_CORRUPT": NOT_A_DATABASE,
    "SQLITE_NOMEM": FAILING,
}
# By the whole SQLSTATE, or by its first two or three characters: two are its class
# (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_BY_SQLSTATE = {
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
# By part of the message: an error while connecting has no SQLSTATE. The first match counts.
_BY_MESSAGE = (
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
_BY_ERRNO = {
    errno.ENOSPC: FULL,
    errno.EROFS: READ_ONLY,
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.ESTALE: REPLACED,
}


def of(error: Exception) -> Fault | None:
    """Return what is wrong with the database; None if the error is the program's."""
    if isinstance(error, PoolTimeout):
        return TOO_MANY
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0, NO_FILE)
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite_error(cause)
    known = _of_sqlstate(getattr(cause, "sqlstate", None) or "")
    if known is None and isinstance(error, (OperationalError, InterfaceError)):
        return _of_message(str(cause))
    return known


def sqlite_error(error: sqlite3.Error) -> StorageUnavailable:
    """Return the exception to raise for an error of SQLite; an unknown one is taken as an error of the disk."""
    return (of(error) or FAILING).error()


def _of_sqlite_error(cause: sqlite3.Error) -> Fault | None:
    name = getattr(cause, "sqlite_errorname", None) or ""
    # The first two words of an extended name, such as SQLITE_IOERR_WRITE, are the name of the primary error.
    found = _BY_SQLITE_ERROR.get(name) or _BY_SQLITE_ERROR.get("_".join(name.split("_")[:2]))
    if found is None and isinstance(cause, sqlite3.OperationalError):
        return NO_TABLES if "no such" in str(cause) else FAILING
    return found


def _of_sqlstate(state: str) -> Fault | None:
    for length in (5, 3, 2):
        if state[:length] in _BY_SQLSTATE:
            return _BY_SQLSTATE[state[:length]]
    return None


def _of_message(message: str) -> Fault:
    message = message.lower()
    return next((fault for part, fault in _BY_MESSAGE if part in message), UNREACHABLE)
