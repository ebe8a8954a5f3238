"""Changes users. Each change is on the audit log, in the same transaction."""

from typing import Any

from sqlalchemy import Connection

from storage import audit, users
from storage.audit import Entry
from storage.clock import unix_us
from storage.errors import Refused
from storage.policy import Limit, write_limits
from storage.quotas import Quota, write_quotas
from storage.user_record import User


def create(
    connection: Connection,
    email: str,
    limits: tuple[Limit, ...],
    now_us: int,
    actor: str,
    *,
    has_own_limits: bool = True,
    quotas: tuple[Quota, ...] = (),
) -> User:
    """Create a user without a key, and return it.

    Args:
        connection: a connection in a write transaction.
        email: the address, in lower case.
        limits: the user's limits.
        now_us: the time, Unix microseconds.
        actor: who makes the change.
        has_own_limits: whether the limits override those of a plan.
        quotas: the quotas that override those of a plan.

    Raises:
        Refused: a user has this address, or there are too many limits.
    """
    users.lock_addresses(connection)
    other = users.find(connection, email)
    if other is not None:
        raise Refused(f"{email} is the address of another user, {other.user_id}.")
    made = users.create(connection, email, limits, now_us, has_own_limits=has_own_limits, quotas=quotas)
    given = {"quotas": write_quotas(made.quotas)} if made.quotas else {}
    _record(connection, actor, "create-user", made, {"limits": write_limits(made.limits), **given})
    return made


def set_limits(connection: Connection, name: str, limits: tuple[Limit, ...], actor: str) -> User:
    """Replace the limits of a user, and return the user.

    Raises:
        Refused: there is no such user, the user is erased, or there are too many limits.
    """
    before, after = users.set_limits(connection, name, limits)
    written = {"limits": write_limits(after.limits), "old_limits": write_limits(before.limits)}
    _record(connection, actor, "set-limit", after, written)
    return after


def set_quotas(connection: Connection, name: str, quotas: tuple[Quota, ...], actor: str) -> User:
    """Replace the quotas of a user, and return the user. Without any, those of its plan count, if it has one.

    Raises:
        Refused: there is no such user, or the user is erased.
    """
    before, after = users.set_quotas(connection, name, quotas)
    written = {"quotas": write_quotas(after.quotas), "old_quotas": write_quotas(before.quotas)}
    _record(connection, actor, "set-quota", after, written)
    return after


def rename(connection: Connection, name: str, email: str, actor: str) -> tuple[User, User]:
    """Give a user another address. Keys, limits and usage stay.

    Returns:
        The user before and after.

    Raises:
        Refused: there is no such user, the user is erased, or a user has this address.
    """
    before, after = users.rename(connection, name, email)
    _record(connection, actor, "rename", after, {"old_email": before.email})
    return before, after


def disable(connection: Connection, name: str, now_us: int, actor: str) -> User:
    """Make all keys of a user refused, until `enable`. Return the user.

    Raises:
        Refused: there is no such user, or the user is erased or disabled already.
    """
    changed = users.disable(connection, name, now_us)
    _record(connection, actor, "disable", changed, {})
    return changed


def enable(connection: Connection, name: str, actor: str) -> User:
    """Make the keys of a disabled user work again. Return the user.

    Raises:
        Refused: there is no such user, or the user is erased or not disabled.
    """
    changed = users.enable(connection, name)
    _record(connection, actor, "enable", changed, {})
    return changed


def erase(connection: Connection, name: str, now_us: int, actor: str) -> tuple[User, int]:
    """Remove a user's address and keys for good. The usage log keeps the bare user id.

    Returns:
        The user, whose address is now the id, and the number of keys.

    Raises:
        Refused: there is no such user, or the user is erased already.
    """
    erased, erased_keys = users.erase(connection, name, now_us)
    audit.record(connection, Entry(unix_us(), actor, "erase", erased.user_id, None, {"keys": erased_keys}))
    return erased, erased_keys


def _record(connection: Connection, actor: str, action: str, user: User, detail: dict[str, Any]) -> None:
    kept = {"email": user.email, **detail}
    audit.record(connection, Entry(unix_us(), actor, action, user.user_id, None, kept))
