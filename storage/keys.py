"""API keys. Only the public id of a key and the hash of its secret are stored."""

from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, insert, select, update

from storage import plans as plan_records
from storage import users as user_records
from storage.errors import Refused
from storage.key_record import KeyRecord, from_row, select_records, state_column
from storage.models import api_keys, users
from storage.policy import Limit, write_limits
from storage.quotas import Quota, write_quotas
from storage.user_record import User

# How long a worker may use a key as it read it: the longest time for which a revoked key is still accepted.
KEY_MEMORY_S = 0.5


def find(connection: Connection, key_id: str) -> KeyRecord | None:
    """Return the key of that public id; None if there is none."""
    row = connection.execute(select_records.where(api_keys.c.id == key_id)).one_or_none()
    if row is None:
        return None
    record = from_row(row)
    return replace(record, prices=plan_records.prices_of(connection, record.plan)) if record.plan else record


def every(connection: Connection) -> list[KeyRecord]:
    """Return all keys, the oldest first."""
    return [from_row(row) for row in connection.execute(select_records.order_by(api_keys.c.created_us))]


def count_by_state(connection: Connection, now_us: int) -> dict[str, int]:
    """Return the number of keys that are `live`, `revoked`, `expired` and `disabled`."""
    state = state_column(now_us)
    counted = connection.execute(select(state, func.count()).join_from(api_keys, users).group_by(state))
    return {"live": 0, "revoked": 0, "expired": 0, "disabled": 0} | {name: int(number) for name, number in counted}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to store, and its user. The attributes that `KeyRecord` has too mean the same there.

    Attributes:
        user: the user's address or id; a user is created if none has the address.
        limits: the limits that the user must have; None: `default_limits` for a new user, any for an existing one.
        default_limits: the limits of a new user if `limits` is None.
        now_us: the time, Unix microseconds.
        quotas: the quotas that the user must have; None: none for a new user, any for an existing one.
    """

    user: str
    limits: tuple[Limit, ...] | None
    default_limits: tuple[Limit, ...]
    key_id: str
    secret_sha256: str
    scopes: frozenset[str]
    now_us: int
    expires_us: int | None
    name: str | None = None
    quotas: tuple[Quota, ...] | None = None


def issue(connection: Connection, new: NewKey) -> KeyRecord:
    """Store the key, and its user if there is none yet.

    Raises:
        Refused: the user exists with other limits or quotas than those of `new`, is disabled or erased, there is no
            user of that id, or there are too many limits.
    """
    user_records.lock_addresses(connection)
    values = {
        "id": new.key_id,
        "user_id": _user_for(connection, new).user_id,
        "secret_sha256": new.secret_sha256,
        "scopes": " ".join(sorted(new.scopes)),
        "created_us": new.now_us,
        "expires_us": new.expires_us,
        "name": new.name,
    }
    connection.execute(insert(api_keys).values(values))
    return require(connection, new.key_id)


def issue_first(connection: Connection, new: NewKey) -> KeyRecord | None:
    """Store the key if there is no user yet; return None if there is one.

    Raises:
        Refused: there are too many limits.
    """
    user_records.lock_addresses(connection)
    return None if has_user(connection) else issue(connection, new)


def has_user(connection: Connection) -> bool:
    """Return whether there is any user."""
    return connection.execute(select(users.c.id).limit(1)).first() is not None


def _user_for(connection: Connection, new: NewKey) -> User:
    """Return the user of the key, who is created if there is none."""
    if "@" in new.user and user_records.find(connection, new.user) is None:
        given, quotas = new.limits or new.default_limits, new.quotas or ()
        has_own = new.limits is not None
        return user_records.create(connection, new.user, given, new.now_us, has_own_limits=has_own, quotas=quotas)
    user = user_records.require_for_change(connection, new.user)
    if user.disabled_us is not None:
        raise Refused(f"{user.email} is disabled; `python -m auth enable {user.email}` comes first.")
    if new.limits is not None and new.limits != user.limits:
        limits = write_limits(user.limits)
        raise Refused(f"{user.email} exists with the limit {limits}; create the key without --limit.")
    if new.quotas is not None and new.quotas != user.quotas:
        written = write_quotas(user.quotas)
        known = f"with the quota {written}" if written else "without a quota"
        raise Refused(f"{user.email} exists {known}; create the key without --quota, or use `set-quota`.")
    return user


def require(connection: Connection, key_id: str) -> KeyRecord:
    """Return the key of that public id.

    Raises:
        Refused: there is no such key.
    """
    record = find(connection, key_id)
    if record is None:
        raise Refused(f"There is no key {key_id}; `python -m auth list` shows all.")
    return record


def of_user(connection: Connection, user_id: str) -> list[KeyRecord]:
    """Return all keys of the user, the oldest first."""
    found = connection.execute(select_records.where(users.c.id == user_id).order_by(api_keys.c.created_us))
    return [from_row(row) for row in found]


def retire(connection: Connection, key_id: str, now_us: int, grace_us: int, replaced_by: str) -> KeyRecord:
    """End the key at once, or after `grace_us` microseconds, but never later than it expires anyway. Return the key.

    Args:
        connection: a connection in a write transaction.
        key_id: the key.
        now_us: the time, Unix microseconds.
        grace_us: how long the key still works, microseconds.
        replaced_by: the id of the key in its place.

    Raises:
        Refused: there is no such key, it is revoked or expired, its user is disabled, or it was rotated before.
    """
    # Two rotations at once: the second one waits here, and finds the key rotated.
    connection.execute(select(api_keys.c.id).where(api_keys.c.id == key_id).with_for_update())
    record = require(connection, key_id)
    if record.disabled_us is not None:
        raise Refused(f"{record.email} is disabled; `python -m auth enable {record.email}` comes first.")
    if not record.is_live(now_us):
        raise Refused(f"The key {key_id} is revoked or expired; create a new one.")
    if record.replaced_by is not None:
        raise Refused(f"The key {key_id} was rotated before, and ends by itself; rotate {record.replaced_by} instead.")
    ends_us = min(now_us + grace_us, record.expires_us or now_us + grace_us)
    ended = {"expires_us": ends_us} if grace_us else {"revoked_us": now_us}
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(replaced_by=replaced_by, **ended))
    return require(connection, key_id)


def revoke(connection: Connection, key_id: str, now_us: int) -> KeyRecord:
    """Revoke the key, and return it.

    Raises:
        Refused: there is no such key, or it is revoked already.
    """
    if require(connection, key_id).revoked_us is not None:
        raise Refused(f"The key {key_id} is revoked already.")
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_us=now_us))
    return require(connection, key_id)
