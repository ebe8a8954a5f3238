"""Users and their keys. Only the public id of a key and the hash of its secret are stored."""

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, case, func, insert, select, update

from storage.errors import Refused
from storage.models import api_keys, users
from storage.policy import Limit, kept_s, parse_limits, write_limits

# How long a worker may use a key as it read it: the longest time for which a revoked key is still accepted.
KEY_MEMORY_S = 0.5
# The length of the column `users.limits`.
_MAX_LIMITS_LENGTH = 500


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key and its user. Times are Unix microseconds; None: never.

    Attributes:
        key_id: the public id of the key.
        user_id: the user.
        email: the user's address.
        secret_sha256: the SHA-256 of the key's secret, hexadecimal.
        scopes: what the key allows.
        limits: the user's limits.
        created_us, expires_us, revoked_us: when the key was created, expires, and was revoked.
        hits_kept_s: how long hits are kept, seconds: the longest window that the user ever had, at least a day.
    """

    key_id: str
    user_id: str
    email: str
    secret_sha256: str
    scopes: frozenset[str]
    limits: tuple[Limit, ...]
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    hits_kept_s: int

    def is_live(self, now_us: int) -> bool:
        """Returns whether the key is neither revoked nor expired."""
        return self.revoked_us is None and (self.expires_us is None or now_us < self.expires_us)


_select_records = select(
    api_keys.c.id,
    api_keys.c.user_id,
    users.c.email,
    api_keys.c.secret_sha256,
    api_keys.c.scopes,
    users.c.limits,
    api_keys.c.created_us,
    api_keys.c.expires_us,
    api_keys.c.revoked_us,
    users.c.hits_kept_s,
).join_from(api_keys, users)


def _record(row: Row[*tuple[Any, ...]]) -> KeyRecord:
    limits = parse_limits(row.limits)
    return KeyRecord(
        row.id,
        row.user_id,
        row.email,
        row.secret_sha256,
        frozenset(row.scopes.split()),
        limits,
        row.created_us,
        row.expires_us,
        row.revoked_us,
        # The previous version of this project sets limits without setting hits_kept_s.
        max(row.hits_kept_s, kept_s(limits)),
    )


def find(connection: Connection, key_id: str) -> KeyRecord | None:
    """Returns the key of that public id; None if there is none."""
    row = connection.execute(_select_records.where(api_keys.c.id == key_id)).one_or_none()
    return _record(row) if row else None


def every(connection: Connection) -> list[KeyRecord]:
    """Returns all keys, the oldest first."""
    return [_record(row) for row in connection.execute(_select_records.order_by(api_keys.c.created_us))]


def count_by_state(connection: Connection, now_us: int) -> dict[str, int]:
    """Returns the number of keys that are `live`, `revoked` and `expired`; one that is both counts as revoked."""
    revoked, expired = api_keys.c.revoked_us.is_not(None), api_keys.c.expires_us <= now_us
    state = case((revoked, "revoked"), (expired, "expired"), else_="live")
    counted = connection.execute(select(state, func.count()).group_by(state))
    return {"live": 0, "revoked": 0, "expired": 0} | {name: int(number) for name, number in counted}


# The id of the PostgreSQL advisory lock for creating users. Any number that nothing else in this database uses.
CREATE_USERS_LOCK = 7_361_003


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to store, and its user. The attributes that `KeyRecord` has too mean the same there.

    Attributes:
        email: the user's address; a user is created if none has it.
        limits: the limits that the user must have; None: `default_limits` for a new user, any for an existing one.
        default_limits: the limits of a new user if `limits` is None.
        now_us: the time, Unix microseconds.
    """

    email: str
    limits: tuple[Limit, ...] | None
    default_limits: tuple[Limit, ...]
    key_id: str
    secret_sha256: str
    scopes: frozenset[str]
    now_us: int
    expires_us: int | None


def issue(connection: Connection, new: NewKey) -> KeyRecord:
    """Stores the key, and its user if there is none yet.

    Raises:
        Refused: the user exists with other limits than `new.limits`, or there are too many limits.
    """
    _lock_user_creation(connection)
    values = {
        "id": new.key_id,
        "user_id": _user_for(connection, new),
        "secret_sha256": new.secret_sha256,
        "scopes": " ".join(sorted(new.scopes)),
        "created_us": new.now_us,
        "expires_us": new.expires_us,
    }
    connection.execute(insert(api_keys).values(values))
    return require(connection, new.key_id)


def issue_first(connection: Connection, new: NewKey) -> KeyRecord | None:
    """Stores the key if there is no user yet; returns None if there is one.

    Raises:
        Refused: there are too many limits.
    """
    _lock_user_creation(connection)
    return None if has_user(connection) else issue(connection, new)


def has_user(connection: Connection) -> bool:
    """Returns whether there is any user."""
    return connection.execute(select(users.c.id).limit(1)).first() is not None


def _lock_user_creation(connection: Connection) -> None:
    """Keeps other transactions from creating users until this one ends. SQLite has only one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(CREATE_USERS_LOCK)))


def _user_for(connection: Connection, new: NewKey) -> str:
    """Returns the id of the key's user, who is created if there is none."""
    row = connection.execute(select(users.c.id, users.c.limits).where(users.c.email == new.email)).one_or_none()
    if row is None:
        limits = new.limits or new.default_limits
        user_id = "usr_" + secrets.token_hex(8)
        values = {"id": user_id, "email": new.email, "created_us": new.now_us, **_limit_columns(limits, kept_s(limits))}
        connection.execute(insert(users).values(values))
        return user_id
    if new.limits is not None and new.limits != parse_limits(row.limits):
        raise Refused(f"{new.email} exists with the limit {row.limits}; create the key without --limit.")
    return str(row.id)


def require(connection: Connection, key_id: str) -> KeyRecord:
    """Returns the key of that public id.

    Raises:
        Refused: there is no such key.
    """
    record = find(connection, key_id)
    if record is None:
        raise Refused(f"There is no key {key_id}; `python -m auth list` shows all.")
    return record


def of_user(connection: Connection, user_id: str) -> list[KeyRecord]:
    """Returns all keys of the user, the oldest first.

    Raises:
        Refused: there is no such user.
    """
    found = connection.execute(_select_records.where(users.c.id == user_id).order_by(api_keys.c.created_us))
    records = [_record(row) for row in found]
    if not records:
        raise Refused(f"There is no user {user_id}; `python -m auth list` shows all.")
    return records


def retire(connection: Connection, key_id: str, now_us: int, grace_us: int) -> KeyRecord:
    """Ends the key at once, or after `grace_us` microseconds, but never later than it expires anyway. Returns the key.

    Raises:
        Refused: there is no such key, or it is revoked or expired.
    """
    record = require(connection, key_id)
    if not record.is_live(now_us):
        raise Refused(f"The key {key_id} is revoked or expired; create a new one.")
    if grace_us == 0:
        return revoke(connection, key_id, now_us)
    ends_us = min(now_us + grace_us, record.expires_us or now_us + grace_us)
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(expires_us=ends_us))
    return require(connection, key_id)


def set_limits(connection: Connection, user_id: str, limits: tuple[Limit, ...]) -> tuple[KeyRecord, KeyRecord]:
    """Replaces the user's limits.

    Returns:
        The user's oldest key as it was before, and as it is now.

    Raises:
        Refused: there is no such user, or there are too many limits.
    """
    connection.execute(select(users.c.id).where(users.c.id == user_id).with_for_update())
    before = of_user(connection, user_id)[0]
    kept = max(before.hits_kept_s, kept_s(limits))
    connection.execute(update(users).where(users.c.id == user_id).values(_limit_columns(limits, kept)))
    return before, require(connection, before.key_id)


def _limit_columns(limits: tuple[Limit, ...], hits_kept_s: int) -> dict[str, Any]:
    written = write_limits(limits)
    if len(written) > _MAX_LIMITS_LENGTH:
        raise Refused(f"{len(limits)} limits are too many for one user; give fewer.")
    return {"limits": written, "hits_kept_s": hits_kept_s}


def revoke(connection: Connection, key_id: str, now_us: int) -> KeyRecord:
    """Revokes the key, and returns it.

    Raises:
        Refused: there is no such key, or it is revoked already.
    """
    if require(connection, key_id).revoked_us is not None:
        raise Refused(f"The key {key_id} is revoked already.")
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_us=now_us))
    return require(connection, key_id)
