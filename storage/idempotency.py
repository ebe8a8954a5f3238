"""Idempotency keys: one request at a time holds a key, and its answer is kept for the requests that repeat it.

A row is in force until its `expires_us`. While a request is under way, that is the end of a short lease, which the
worker renews: a worker that is killed renews nothing, so the key is free again within `LEASE_S`. When the request is
answered, it is the end of `KEPT_S`. A row that is not in force may be taken over by another request.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, delete, func, null, select, tuple_, update

from storage.clock import MICROSECONDS
from storage.inserts import insert_into
from storage.models import idempotency_keys
from storage.server_clock import read_clock_us
from storage.sqlite import Transaction

# How long an answer is kept, seconds.
KEPT_S = 24 * 3600
# How long a request that is under way holds its key, seconds, unless its worker renews the lease.
LEASE_S = 10
# How many answers of one user are kept; beyond that, the oldest are deleted before their time.
MOST_PER_USER = 100_000
# Rows that are deleted in one transaction, so that requests are not blocked for long meanwhile.
DELETED_AT_ONCE = 500
# A request whose lease ended so recently, seconds, may still be under way: its row is needed to refuse its answer.
_GRACE_S = 3600


class Claim(NamedTuple):
    """A request, and the idempotency key that it wants to hold.

    Attributes:
        user_id: the user.
        endpoint: the name of the route.
        key: the idempotency key. Each user and each route has its own.
        request_id: the id of the request in the usage log.
        clock_us: returns the time, Unix microseconds; None: use the clock of the database server.
    """

    user_id: str
    endpoint: str
    key: str
    request_id: str
    clock_us: Callable[[], int] | None


class KeptAnswer(NamedTuple):
    """An answer, and the request that it belongs to.

    Attributes:
        fingerprint: tells the request's body from others.
        status: the HTTP status.
        headers: the headers, in whatever form the caller writes them.
        body: the body; None if it was too large to be kept.
    """

    fingerprint: str
    status: int
    headers: str
    body: bytes | None


class Outcome(Enum):
    """The outcome of a claim to a key for which there is no kept answer."""

    HELD = 1
    """The request holds the key now."""
    UNDER_WAY = 2
    """Another request holds the key."""


class Settlement(NamedTuple):
    """The end of a claim, when its request is answered: the answer is kept, or, without one, the key is free."""

    claim: Claim
    answer: KeptAnswer | None


_table = idempotency_keys.c
_is_of_key = (
    (_table.user_id == bindparam("of_user"))
    & (_table.endpoint == bindparam("of_endpoint"))
    & (_table.key == bindparam("of_key"))
)
_is_held = _is_of_key & (_table.request_id == bindparam("of_request")) & _table.status.is_(None)
_ANSWER = KeptAnswer._fields
_select_in_force = select(*(_table[name] for name in _ANSWER)).where(
    _is_of_key, _table.expires_us > bindparam("now", type_=BigInteger)
)


@cache
def _take(dialect: str) -> Any:
    """Return the statement that takes a key."""
    statement = insert_into(idempotency_keys, dialect)
    taken = {name: statement.excluded[name] for name in ("request_id", "expires_us")}
    return statement.on_conflict_do_update(
        index_elements=["user_id", "endpoint", "key"],
        set_=taken | dict.fromkeys(_ANSWER, null()),
        where=_table.expires_us <= bindparam("now", type_=BigInteger),
    ).returning(_table.request_id)


_renew = update(idempotency_keys).where(_is_held)
_keep = update(idempotency_keys).where(_is_held)
_release = delete(idempotency_keys).where(_is_held)


def claim(connection: Transaction, claims: Sequence[Claim]) -> Sequence[Outcome | KeptAnswer]:
    """Take each key that no request holds and that has no kept answer.

    Args:
        connection: in a transaction; on SQLite, in one that holds the write lock.
        claims: the claims, of any users.

    Returns:
        For each claim, in the same order, what became of it, or the kept answer.
    """
    now_us = read_clock_us(connection, claims[0].clock_us)
    # All replicas take keys in the same order, which prevents a deadlock.
    ordered = sorted(range(len(claims)), key=lambda index: claims[index][:3])
    outcomes = {index: _claim(connection, claims[index], now_us) for index in ordered}
    return [outcomes[index] for index in range(len(claims))]


def _claim(connection: Transaction, wanted: Claim, now_us: int) -> Outcome | KeptAnswer:
    found = _in_force(connection, wanted, now_us)
    if found is not None:
        return found
    values = wanted._asdict() | {"expires_us": now_us + LEASE_S * MICROSECONDS, "now": now_us}
    del values["clock_us"]
    if connection.execute(_take(connection.dialect.name), values).fetchone() is not None:
        return Outcome.HELD
    # Another replica took the key since it was looked for.
    return _in_force(connection, wanted, now_us) or Outcome.UNDER_WAY


def _in_force(connection: Transaction, wanted: Claim, now_us: int) -> Outcome | KeptAnswer | None:
    row = connection.execute(_select_in_force, _named(wanted) | {"now": now_us}).fetchone()
    if row is None:
        return None
    return Outcome.UNDER_WAY if row[_ANSWER.index("status")] is None else KeptAnswer(*row)


def renew(connection: Transaction, claims: Sequence[Claim]) -> Sequence[None]:
    """Start the lease of each claim again, if it still holds its key."""
    expires_us = read_clock_us(connection, claims[0].clock_us) + LEASE_S * MICROSECONDS
    for held in sorted(claims, key=lambda claim: claim[:3]):
        connection.execute(_renew, _held(held) | {"expires_us": expires_us})
    return [None] * len(claims)


def settle(connection: Transaction, settlements: Sequence[Settlement]) -> Sequence[bool]:
    """Keep the answers, and free the keys of requests without one; in the transaction that writes the usage rows.

    Returns:
        For each settlement, in the same order, whether the answer may be given: False if another request holds the key
        by now, since the lease of this one ended.
    """
    given = {}
    for index in sorted(range(len(settlements)), key=lambda index: settlements[index].claim[:3]):
        held, answer = settlements[index]
        if answer is None:
            connection.execute(_release, _held(held))
            given[index] = True
        else:
            values = answer._asdict() | {"expires_us": read_clock_us(connection, held.clock_us) + KEPT_S * MICROSECONDS}
            given[index] = connection.execute(_keep, _held(held) | values).rowcount == 1
    return [given[index] for index in range(len(settlements))]


def forget_expired(connection: Connection, clock_us: Callable[[], int] | None) -> int:
    """Delete up to `DELETED_AT_ONCE` rows that are no longer in force; return how many.

    Args:
        connection: in a write transaction.
        clock_us: as in `Claim`.
    """
    now_us = read_clock_us(connection, clock_us)
    was_answered = (_table.expires_us <= now_us) & _table.status.is_not(None)
    was_left = _table.expires_us <= now_us - _GRACE_S * MICROSECONDS
    return _delete(connection, was_answered | was_left)


def excess(connection: Connection, most: int) -> dict[str, int]:
    """Return how many rows each user has beyond `most`, without the users who have no more than that."""
    number = func.count()
    crowded = select(_table.user_id, number).group_by(_table.user_id).having(number > most)
    return {user_id: found - most for user_id, found in connection.execute(crowded)}


def forget_oldest(connection: Connection, excess: Mapping[str, int]) -> int:
    """Delete the oldest answers of some users; return how many.

    Args:
        connection: in a write transaction.
        excess: how many to delete, by user; of each at most `DELETED_AT_ONCE` are deleted.
    """
    is_answer = _table.status.is_not(None)
    of_users = ((_table.user_id == user_id) & is_answer for user_id in excess)
    return sum(map(partial(_delete, connection), of_users, excess.values()))


def forget_user(connection: Connection, user_id: str) -> None:
    """Delete all rows of a user."""
    connection.execute(delete(idempotency_keys).where(_table.user_id == user_id))


def count(connection: Connection) -> int:
    """Return the number of rows."""
    return connection.scalar(select(func.count()).select_from(idempotency_keys)) or 0


def _delete(connection: Connection, condition: Any, most: int = DELETED_AT_ONCE) -> int:
    identity = (_table.user_id, _table.endpoint, _table.key)
    oldest = select(*identity).where(condition).order_by(_table.expires_us).limit(min(most, DELETED_AT_ONCE))
    # Several workers do this at once. On PostgreSQL, each leaves to the others the rows that they are deleting.
    chosen = oldest.with_for_update(skip_locked=True)
    return int(connection.execute(delete(idempotency_keys).where(tuple_(*identity).in_(chosen))).rowcount)


def _named(claim: Claim) -> dict[str, Any]:
    return {"of_user": claim.user_id, "of_endpoint": claim.endpoint, "of_key": claim.key}


def _held(claim: Claim) -> dict[str, Any]:
    return _named(claim) | {"of_request": claim.request_id}
