"""Keeps a key with the scope `admin`: whoever ends the last one over HTTP could make no other."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, func, select

from storage.errors import Refused
from storage.models import api_keys, users

T = TypeVar("T")

ADMIN = "admin"
# The id of the PostgreSQL advisory lock for changes that may end such a key. SQLite has only one writer.
ADMIN_KEYS_LOCK = 7_361_004
HOW_TO_GO_ON = "create another one first, or use `python -m auth` on the server"
_WOULD_END = f"This would end the last key with the scope '{ADMIN}', or the last that does not expire; {HOW_TO_GO_ON}."
_NO_GRACE = f"This is the last key with the scope '{ADMIN}': if the answer got lost, none would be left"


def keep(connection: Connection, now_us: int, change: Callable[[], T]) -> T:
    """Makes a change that may end keys, and returns its result.

    Args:
        connection: a connection in a write transaction, which the caller rolls back if this raises.
        now_us: the time, Unix microseconds.
        change: makes the change with this connection.

    Raises:
        Refused: the change ends the last live key with the scope `admin`, or the last of them that does not expire; or
            `change` raised it.
    """
    before = _best(connection, now_us)
    result = change()
    if _best(connection, now_us) < before:
        raise Refused(_WOULD_END)
    return result


def check_rotation(connection: Connection, now_us: int, key_id: str) -> None:
    """Checks that a key may be rotated without a grace.

    Raises:
        Refused: it is the last live key with the scope `admin`, or the last of them that does not expire.
    """
    if _best(connection, now_us, without=key_id) < _best(connection, now_us):
        raise Refused(f"{_NO_GRACE}. Give a grace such as 1h, {HOW_TO_GO_ON}.")


def lock(connection: Connection) -> None:
    """Keeps other transactions that call this from ending a key with the scope `admin` until this one ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(ADMIN_KEYS_LOCK)))


def _best(connection: Connection, now_us: int, without: str | None = None) -> int:
    """Returns 2 if a live key has the scope and does not expire, 1 if all such keys expire, 0 if there is none.

    A key that was rotated does not count: it ends soon.
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
