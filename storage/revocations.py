"""What has ended: revoked and rotated keys, disabled and erased users. A list of it outlives the database.

A backup knows nothing of what ended after it was made. `revoke_again` ends the same in a restored database. The
list holds ids and times, but no address, name or hash.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection, or_, select, update

from storage import audit, key_changes, keys, user_changes
from storage import users as user_records
from storage.audit import Entry
from storage.clock import iso, unix_us
from storage.errors import Refused
from storage.models import api_keys, users


@dataclass(frozen=True, slots=True)
class EndedKey:
    """A key that was revoked, or rotated; see `key_record.KeyRecord` for the attributes."""

    key_id: str
    revoked_us: int | None
    expires_us: int | None
    replaced_by: str | None


@dataclass(frozen=True, slots=True)
class EndedUser:
    """A user that is disabled or erased."""

    user_id: str
    is_disabled: bool
    is_erased: bool


@dataclass(frozen=True, slots=True)
class Revocations:
    """All that had ended in a database at the time `read_us`, Unix microseconds."""

    read_us: int
    keys: tuple[EndedKey, ...]
    users: tuple[EndedUser, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """How many keys and users `revoke_again` ended, which were still live."""

    keys: int
    users: int


def read(connection: Connection) -> Revocations:
    """Return all that has ended so far."""
    read_us = unix_us()
    key = api_keys.c
    ended_keys = select(key.id, key.revoked_us, key.expires_us, key.replaced_by).where(
        or_(key.revoked_us.is_not(None), key.replaced_by.is_not(None))
    )
    is_erased = users.c.email == users.c.id
    ended_users = select(users.c.id, users.c.disabled_us.is_not(None), is_erased).where(
        or_(users.c.disabled_us.is_not(None), is_erased)
    )
    return Revocations(
        read_us,
        tuple(EndedKey(*row) for row in connection.execute(ended_keys.order_by(key.id))),
        tuple(EndedUser(row[0], bool(row[1]), bool(row[2])) for row in connection.execute(ended_users)),
    )


def write(path: Path, known: Revocations) -> None:
    """Write a list to a file, which only its owner can read. A file of that name is replaced once the list is whole.

    Raises:
        Refused: the file can't be written, or names keys that have ended of which `known` knows nothing: it is from
            another database, such as one that was lost.
    """
    is_known = is_there(path)
    if is_known and not path.is_file():
        raise Refused(f"{path} is no file; name another one.")
    if is_known and not {key.key_id for key in load(path).keys} <= {key.key_id for key in known.keys}:
        raise Refused(f"The file {path} names keys that this database does not know to have ended; name another file.")
    writing = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(writing, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(known), file)
            file.flush()
            os.fsync(file.fileno())
        writing.replace(path)
    except OSError as error:
        # A list may be written every minute, so unfinished files would add up.
        with suppress(OSError):
            writing.unlink()
        raise Refused(f"The file can't be written: {error.strerror}.") from None


def is_there(path: Path) -> bool:
    """Return whether a file or folder exists.

    Raises:
        Refused: that can't be checked, such as in a folder that this user may not enter.
    """
    try:
        return path.exists()
    except OSError as error:
        raise Refused(f"Whether {path} exists can't be checked: {error.strerror}; name another file.") from None


def load(path: Path) -> Revocations:
    """Return the list in a file.

    Raises:
        Refused: the file can't be read, or is no such list.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        return Revocations(
            int(found["read_us"]),
            tuple(EndedKey(**key) for key in found["keys"]),
            tuple(EndedUser(**user) for user in found["users"]),
        )
    except OSError as error:
        raise Refused(f"The file {path} can't be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise Refused(f"The file {path} is no whole list that 'python -m auth revocations' has written.") from None


def revoke_again(connection: Connection, known: Revocations, actor: str) -> Ended:
    """End what a list names and this database believes to be live. What the database does not know is left out.

    Args:
        connection: in a write transaction.
        known: the list.
        actor: who makes the change; each one is on the audit log.
    """
    changed_users = sum(_end_user(connection, user, actor) for user in known.users)
    return Ended(sum(_end_key(connection, key, actor) for key in known.keys), changed_users)


def revoke_all(connection: Connection, actor: str) -> Ended:
    """Revoke every key that is not revoked yet."""
    return Ended(
        _revoke(connection, (key.key_id for key in keys.every(connection) if key.revoked_us is None), actor), 0
    )


def _revoke(connection: Connection, key_ids: Iterable[str], actor: str) -> int:
    return len([key_changes.revoke(connection, key_id, actor) for key_id in key_ids])


def _end_user(connection: Connection, user: EndedUser, actor: str) -> bool:
    found = user_records.find(connection, user.user_id)
    if found is None or found.is_erased:
        return False
    if user.is_erased:
        user_changes.erase(connection, user.user_id, unix_us(), actor)
        return True
    if found.disabled_us is not None:
        return False
    user_changes.disable(connection, user.user_id, unix_us(), actor)
    return True


def _end_key(connection: Connection, key: EndedKey, actor: str) -> bool:
    found = keys.find(connection, key.key_id)
    if found is None or found.revoked_us is not None:
        return False
    if key.revoked_us is not None:
        key_changes.revoke(connection, key.key_id, actor)
        return True
    if found.replaced_by is not None or key.expires_us is None:
        return False
    # It was rotated with a grace period, after which it ends by itself.
    ends = {"expires_us": key.expires_us, "replaced_by": key.replaced_by}
    connection.execute(update(api_keys).where(api_keys.c.id == key.key_id).values(ends))
    detail = {"email": found.email, "expires_at": iso(key.expires_us)}
    audit.record(connection, Entry(unix_us(), actor, "revoke", found.user_id, key.key_id, detail))
    return True
