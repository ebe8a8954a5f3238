"""Makes sure that a key with the scope `admin` remains: without one, nobody could create another over HTTP."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, select

from storage import advisory_locks
from storage.advisory_locks import AdvisoryLock
from storage.errors import Refused
from storage.models import api_keys, users

T = TypeVar("T")

ADMIN = "admin"
HOW_TO_GO_ON = "create another one first, or use `python -m auth` on the server"
_WOULD_END = f"This would end the last key with the scope '{ADMIN}', or the last that does not expire; {HOW_TO_GO_ON}."
_NO_GRACE = f"This is the last key with the scope '{ADMIN}': if the answer got lost, none would be left"


def keep(connection: Connection, now_us: int, change: Callable[[], T]) -> T:
    """Make a change that may end keys, and return its result.

    Args:
        connection: a connection in a write transaction, which the caller rolls back if this raises.
        now_us: the time, Unix microseconds.
        change: makes the change with this connection.

    Raises:
        Refused: the change ends the last live key with the scope `admin`, or the last of them that does not expire; or
            `change` raised it.
    """
    before = _best_rank(connection, now_us)
    result = change()
    if _best_rank(connection, now_us) < before:
        raise Refused(_WOULD_END)
    return result


def check_rotation(connection: Connection, now_us: int, key_id: str) -> None:
    """Check that a key may be rotated without a grace.

    Raises:
        Refused: it is the last live key with the scope `admin`, or the last of them that does not expire.
    """
    if _best_rank(connection, now_us, without=key_id) < _best_rank(connection, now_us):
        raise Refused(f"{_NO_GRACE}. Give a grace such as 1h, {HOW_TO_GO_ON}.")


def lock(connection: Connection) -> None:
    """Keep other transactions that call this from ending a key with the scope `admin` until this one ends."""
    advisory_locks.take(connection, AdvisoryLock.ADMIN_KEYS)


def _best_rank(connection: Connection, now_us: int, without: str | None = None) -> int:
    """Return the rank of the best live key with the scope: 2 if it does not expire, 1 if it does, 0 if there is none.

    A key that was rotated does not count, since it ends soon.

    Args:
        connection: a connection.
        now_us: the time, Unix microseconds.
        without: the id of a key that does not count.
    """
    query = (
        select(api_keys.c.id, api_keys.c.scopes, api_keys.c.expires_us)
        .join_from(api_keys, users)
        .where(
            api_keys.c.scopes.contains(ADMIN),
            api_keys.c.revoked_us.is_(None),
            api_keys.c.replaced_by.is_(None),
            users.c.disabled_us.is_(None),
        )
    )
    found = [
        row
        for row in connection.execute(query)
        if ADMIN in row.scopes.split() and row.id != without and (row.expires_us is None or row.expires_us > now_us)
    ]
    return max((2 if row.expires_us is None else 1 for row in found), default=0)
