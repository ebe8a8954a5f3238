"""The exact sliding-window log: every admitted image is a row, and a window is what lies in it.

A user's hits are numbered without a gap in order of time, so the count in a window is the difference of two numbers:
each hit costs a few look-ups in an index, whether the limit is 5 or 5 million.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, text

from storage.models import hits
from storage.policy import Decision, Limit, Standing

MICROSECONDS = 1_000_000

_of_user = hits.c.user_id == bindparam("user")
_newest = select(hits.c.seq, hits.c.at_us).where(_of_user).order_by(hits.c.seq.desc()).limit(1)
_first_since = (
    select(hits.c.seq, hits.c.at_us)
    .where(_of_user, hits.c.at_us >= bindparam("since"))
    .order_by(hits.c.at_us, hits.c.seq)
    .limit(1)
)
_numbered = select(hits.c.at_us).where(_of_user, hits.c.seq == bindparam("number"))
_add = insert(hits)
_forget = delete(hits).where(_of_user, hits.c.at_us < bindparam("since"))

# PostgreSQL: nobody else's hit of the user until this transaction ends; the ledger's foreign keys may pass.
_lock = text("SELECT id FROM users WHERE id = :user FOR NO KEY UPDATE")
_server_clock = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")


@dataclass(frozen=True, slots=True)
class Hit:
    """A request to be admitted or refused.

    Attributes:
        user_id: whose it is.
        limits: all limits of the user.
        cost: how many images it has.
        clock_us: the time to go by, Unix microseconds; None: the server's own, which all replicas share. SQLite has no
            server. A clock that was set back is read as the time of the newest hit.
    """

    user_id: str
    limits: tuple[Limit, ...]
    cost: int
    clock_us: Callable[[], int] | None


def hit(connection: Connection, asked: Sequence[Hit]) -> Sequence[Decision]:
    """Admit each request that every limit of its user allows, and count it; a refusal counts nothing.

    Args:
        connection: inside a transaction; on SQLite, one that holds the write lock.
        asked: the requests, answered in their order.
    """
    decisions: dict[int, Decision] = {}
    # User by user, in one order everywhere, so that two replicas never wait for each other in a circle.
    for number in sorted(range(len(asked)), key=lambda number: asked[number].user_id):
        decisions[number] = _hit(connection, asked[number])
    return [decisions[number] for number in range(len(asked))]


def test(connection: Connection, asked: Hit) -> Decision:
    """Where the user stands, without counting anything."""
    newest, now_us = _where_we_are(connection, asked)
    return Decision(tuple(_standing(connection, asked, limit, newest, now_us) for limit in asked.limits))


def _hit(connection: Connection, asked: Hit) -> Decision:
    if connection.dialect.name == "postgresql":
        connection.execute(_lock, {"user": asked.user_id})
    newest, now_us = _where_we_are(connection, asked)
    before = [_standing(connection, asked, limit, newest, now_us) for limit in asked.limits]
    if any(standing.wait_s > 0 for standing in before):
        return Decision(tuple(before))
    numbers = range(newest + 1, newest + 1 + asked.cost)
    connection.execute(_add, [{"user_id": asked.user_id, "seq": number, "at_us": now_us} for number in numbers])
    longest = max(limit.window_s for limit in asked.limits)
    connection.execute(_forget, {"user": asked.user_id, "since": now_us - longest * MICROSECONDS})
    return Decision(tuple(standing.after(asked.cost) for standing in before))


def _where_we_are(connection: Connection, asked: Hit) -> tuple[int, int]:
    """The number of the user's newest hit, and the time; read under the lock, so that hits are in order of time."""
    now_us = asked.clock_us() if asked.clock_us else connection.execute(_server_clock).scalar_one()
    row = connection.execute(_newest, {"user": asked.user_id}).one_or_none()
    return (row.seq, max(now_us, row.at_us)) if row else (0, now_us)


def _standing(connection: Connection, asked: Hit, limit: Limit, newest: int, now_us: int) -> Standing:
    window_us, user_id = limit.window_s * MICROSECONDS, asked.user_id
    first = connection.execute(_first_since, {"user": user_id, "since": now_us - window_us}).one_or_none()
    used = newest - first.seq + 1 if first else 0
    blocking_us = None
    if used + asked.cost > limit.quota >= asked.cost:
        number = newest - (limit.quota - asked.cost)
        blocking_us = connection.execute(_numbered, {"user": user_id, "number": number}).one().at_us
    return Standing.at(limit, now_us, used, first.at_us if first else None, asked.cost, blocking_us)
