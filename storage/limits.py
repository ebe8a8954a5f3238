"""The exact sliding-window log: every admitted image is a row, and a window is what lies in it.

`hit` must run in a transaction that no other hit of the same user runs beside (SQLite: BEGIN IMMEDIATE). A user's hits
are numbered without a gap in order of time, so the count in a window is the difference of two numbers: each hit costs a
few look-ups in an index, whether the limit is 5 or 5 million.
"""

from sqlalchemy import Connection, bindparam, delete, insert, select

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


def hit(connection: Connection, user_id: str, limits: tuple[Limit, ...], now_us: int, cost: int = 1) -> Decision:
    """Admit `cost` classifications if every limit allows them, and count them; a refusal counts nothing.

    Args:
        connection: inside a transaction that excludes the user's other hits.
        user_id: whose limits they are.
        limits: all limits of the user.
        now_us: the time, Unix microseconds. A clock that was set back is read as the time of the newest hit.
        cost: the images of the request.
    """
    newest, now_us = _where_we_are(connection, user_id, now_us)
    before = [_standing(connection, user_id, limit, newest, now_us, cost) for limit in limits]
    if any(standing.wait_s > 0 for standing in before):
        return Decision(tuple(before))
    connection.execute(
        _add,
        [{"user_id": user_id, "seq": newest + number, "at_us": now_us} for number in range(1, cost + 1)],
    )
    longest = max(limit.window_s for limit in limits)
    connection.execute(_forget, {"user": user_id, "since": now_us - longest * MICROSECONDS})
    return Decision(tuple(_after(standing, cost) for standing in before))


def test(connection: Connection, user_id: str, limits: tuple[Limit, ...], now_us: int) -> Decision:
    """Where the user stands, without counting anything."""
    newest, now_us = _where_we_are(connection, user_id, now_us)
    return Decision(tuple(_standing(connection, user_id, limit, newest, now_us, 0) for limit in limits))


def _where_we_are(connection: Connection, user_id: str, now_us: int) -> tuple[int, int]:
    row = connection.execute(_newest, {"user": user_id}).one_or_none()
    return (row.seq, max(now_us, row.at_us)) if row else (0, now_us)


def _standing(connection: Connection, user_id: str, limit: Limit, newest: int, now_us: int, cost: int) -> Standing:
    window_us = limit.window_s * MICROSECONDS
    first = connection.execute(_first_since, {"user": user_id, "since": now_us - window_us}).one_or_none()
    used = newest - first.seq + 1 if first else 0

    def seconds_until_gone(at_us: int) -> float:
        # One microsecond more, since a hit exactly as old as the window still lies in it.
        return (at_us + window_us - now_us + 1) / MICROSECONDS

    reset_s = seconds_until_gone(first.at_us) if first else 0.0
    if used + cost <= limit.quota:
        wait_s = 0.0
    elif cost > limit.quota:
        wait_s = float(limit.window_s)
    else:
        in_the_way = newest - (limit.quota - cost)
        row = connection.execute(_numbered, {"user": user_id, "number": in_the_way}).one()
        wait_s = seconds_until_gone(row.at_us)
    return Standing(limit, max(0, limit.quota - used), reset_s, wait_s)


def _after(standing: Standing, cost: int) -> Standing:
    """The standing once `cost` places are taken."""
    reset_s = standing.reset_s or float(standing.limit.window_s)
    return Standing(standing.limit, standing.remaining - cost, reset_s, 0.0)
