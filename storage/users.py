"""Users: their addresses and limits, and whether their keys work. Addresses are stored in lower case."""

import secrets
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from storage import advisory_locks, audit, idempotency, metering, outbox
from storage.advisory_locks import AdvisoryLock
from storage.errors import Refused
from storage.models import api_keys, users
from storage.policy import Limit, kept_s, write_limits
from storage.quotas import Quota, write_quotas
from storage.user_record import User, from_row, in_lower_case, select_users

# The length of the column `users.limits`.
_MAX_LIMITS_LENGTH = 500


def find(connection: Connection, name: str) -> User | None:
    """Return the user of that id or address; None if there is none.

    Raises:
        Refused: several users have this address in other upper and lower case, as earlier versions allowed.
    """
    if "@" not in name:
        row = connection.execute(select_users.where(users.c.id == name)).one_or_none()
        return from_row(row) if row else None
    folded = in_lower_case(name)
    same = or_(users.c.email.in_((name, folded)), func.lower(users.c.email) == folded)
    found = [from_row(row) for row in connection.execute(select_users.where(same).order_by(users.c.created_us))]
    found = [user for user in found if user.email == name] or found
    if len(found) > 1:
        several = " and ".join(f"{user.user_id} ({user.email})" for user in found)
        raise Refused(f"The users {several} have this address; name one by its id, or `rename` one.")
    return found[0] if found else None


def require(connection: Connection, name: str) -> User:
    """Return the user of that id or address.

    Raises:
        Refused: there is no such user, or several have this address.
    """
    user = find(connection, name)
    if user is None:
        raise Refused(f"There is no user {name}; `python -m auth list` shows all.")
    return user


def require_for_change(connection: Connection, name: str) -> User:
    """Do the same as `require`, for a user who is going to be changed: no other transaction changes it meanwhile.

    Raises:
        Refused: there is no such user, several have this address, or the user is erased.
    """
    user_id = require(connection, name).user_id
    connection.execute(select(users.c.id).where(users.c.id == user_id).with_for_update())
    user = require(connection, user_id)
    if user.is_erased:
        raise Refused(f"The user {user_id} is erased.")
    return user


def create(
    connection: Connection,
    email: str,
    limits: tuple[Limit, ...],
    now_us: int,
    *,
    has_own_limits: bool,
    quotas: tuple[Quota, ...] = (),
) -> User:
    """Create a user. The caller has locked the addresses, and knows that no user has this one.

    Args:
        connection: a connection in a write transaction.
        email: the address.
        limits: the limits.
        now_us: the time, Unix microseconds.
        has_own_limits: whether the limits override those of a plan.
        quotas: the quotas that override those of a plan.

    Raises:
        Refused: there are too many limits.
    """
    user_id = "usr_" + secrets.token_hex(8)
    values = {"id": user_id, "email": in_lower_case(email), "created_us": now_us, "quotas": write_quotas(quotas)}
    columns = _limit_columns(limits, kept_s(limits)) | {"has_own_limits": int(has_own_limits)}
    connection.execute(insert(users).values(values | columns))
    return require(connection, user_id)


def lock_addresses(connection: Connection) -> None:
    """Keep other transactions from creating and renaming users until this one ends."""
    advisory_locks.take(connection, AdvisoryLock.ADDRESSES)


def set_limits(connection: Connection, name: str, limits: tuple[Limit, ...]) -> tuple[User, User]:
    """Replace the user's limits.

    Returns:
        The user before and after.

    Raises:
        Refused: there is no such user, the user is erased, or there are too many limits.
    """
    before = require_for_change(connection, name)
    # The previous version of this project sets limits without setting hits_kept_s.
    kept = max(before.hits_kept_s, kept_s(before.limits), kept_s(limits))
    return before, _change(connection, before, _limit_columns(limits, kept) | {"has_own_limits": 1})


def set_quotas(connection: Connection, name: str, quotas: tuple[Quota, ...]) -> tuple[User, User]:
    """Replace the user's own quotas. Without quotas of its own, a user has those of its plan.

    Returns:
        The user before and after.

    Raises:
        Refused: there is no such user, or the user is erased.
    """
    before = require_for_change(connection, name)
    return before, _change(connection, before, {"quotas": write_quotas(quotas)})


def rename(connection: Connection, name: str, email: str) -> tuple[User, User]:
    """Give the user another address.

    Returns:
        The user before and after.

    Raises:
        Refused: there is no such user, the user is erased, or another user has this address.
    """
    lock_addresses(connection)
    before = require_for_change(connection, name)
    email = in_lower_case(email)
    taken = or_(users.c.email == email, func.lower(users.c.email) == email)
    owner = connection.scalar(select(users.c.id).where(taken, users.c.id != before.user_id).limit(1))
    if owner is not None:
        raise Refused(f"{email} is the address of another user, {owner}.")
    if before.email == email:
        raise Refused(f"{email} is the address of {before.user_id} already.")
    return before, _change(connection, before, {"email": email})


def disable(connection: Connection, name: str, now_us: int) -> User:
    """Make all keys of the user refused until `enable`. Return the user.

    Raises:
        Refused: there is no such user, or the user is erased or disabled already.
    """
    user = require_for_change(connection, name)
    if user.disabled_us is not None:
        raise Refused(f"{user.email} is disabled already.")
    return _change(connection, user, {"disabled_us": now_us})


def enable(connection: Connection, name: str) -> User:
    """Make the keys of a disabled user work again. Return the user.

    Raises:
        Refused: there is no such user, or the user is erased or not disabled.
    """
    user = require_for_change(connection, name)
    if user.disabled_us is None:
        raise Refused(f"{user.email} is not disabled.")
    return _change(connection, user, {"disabled_us": None})


def erase(connection: Connection, name: str, now_us: int) -> tuple[User, int]:
    """Remove the address, Stripe customer and kept answers, and the keys' hashes and names, also from the audit log.

    Usage rows stay. The keys' rows stay without their secrets, since usage rows refer to them.

    Returns:
        The user, whose address is now the id, and the number of keys.

    Raises:
        Refused: there is no such user, or the user is erased already.
    """
    user = require_for_change(connection, name)
    changed = _change(connection, user, {"email": user.user_id, "stripe_customer": None, "stripe_from_s": None})
    of_user = api_keys.c.user_id == user.user_id
    connection.execute(update(api_keys).where(of_user, api_keys.c.revoked_us.is_(None)).values(revoked_us=now_us))
    erased = connection.execute(update(api_keys).where(of_user).values(secret_sha256="", name=None))
    audit.erase_names(connection, user.user_id)
    idempotency.forget_user(connection, user.user_id)
    metering.withdraw(connection, user.user_id)
    outbox.forget_erased(connection)
    return changed, int(erased.rowcount)


def _change(connection: Connection, user: User, values: dict[str, Any]) -> User:
    connection.execute(update(users).where(users.c.id == user.user_id).values(values))
    return require(connection, user.user_id)


def check_length(limits: tuple[Limit, ...]) -> None:
    """Check that the limits fit into the database.

    Raises:
        Refused: there are too many limits.
    """
    if len(write_limits(limits)) > _MAX_LIMITS_LENGTH:
        raise Refused(f"{len(limits)} limits are too many for one user; give fewer.")


def _limit_columns(limits: tuple[Limit, ...], hits_kept_s: int) -> dict[str, Any]:
    check_length(limits)
    return {"limits": write_limits(limits), "hits_kept_s": hits_kept_s}
