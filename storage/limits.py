"""The exact sliding-window log: every admitted image is a row, and a window is what lies in it.

A user's hits are numbered without a gap in order of time, so the count in a window is the difference of two numbers:
each hit costs a few look-ups in an index, whether the limit is 5 or 5 million.

A clock may be set back. A hit that lies in the future then counts as made now: no window holds more than its limit, and
nobody waits longer than a window.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, insert, select, text, update

from storage.models import hits
from storage.policy import UNITS, Decision, Limit, Standing
from storage.sqlite import Transaction

MICROSECONDS = 1_000_000
FORGET_EVERY = 16
# Hits that are forgotten at a time, for each that is counted and at least: what is old is cleared away in small pieces.
FORGOTTEN_FOR_EACH = 4
FORGOTTEN_AT_ONCE = FORGET_EVERY * FORGOTTEN_FOR_EACH

_of_user = hits.c.user_id == bindparam("user")
_now = bindparam("now", type_=BigInteger)
_newest = select(hits.c.seq, hits.c.at_us).where(_of_user).order_by(hits.c.seq.desc()).limit(1)
_first_since = (
    select(hits.c.seq, hits.c.at_us)
    .where(_of_user, hits.c.at_us >= bindparam("since"))
    .order_by(hits.c.at_us, hits.c.seq)
    .limit(1)
)
_numbered = select(hits.c.at_us).where(_of_user, hits.c.seq == bindparam("number"))
_add = insert(hits)
_date_anew = update(hits).where(_of_user, hits.c.at_us > _now).values(at_us=_now)
_oldest = (
    select(hits.c.seq)
    .where(_of_user, hits.c.at_us < bindparam("since"))
    .order_by(hits.c.at_us, hits.c.seq)
    .limit(bindparam("most"))
)
_forget = delete(hits).where(_of_user, hits.c.seq.in_(_oldest))

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
            server.
        kept_s: how long the user's hits are kept at least, seconds: for limits that the user had, and may have again.
    """

    user_id: str
    limits: tuple[Limit, ...]
    cost: int
    clock_us: Callable[[], int] | None
    kept_s: int = UNITS["day"]


def hit(connection: Transaction, asked: Sequence[Hit]) -> Sequence[Decision]:
    """Admit each request that every limit of its user allows, and count it; a refusal counts nothing.

    Args:
        connection: inside a transaction; on SQLite, one that holds the write lock.
        asked: the requests, answered in their order.
    """
    of_users: dict[str, list[int]] = {}
    for number, one in enumerate(asked):
        of_users.setdefault(one.user_id, []).append(number)
    decisions: dict[int, Decision] = {}
    added: list[dict[str, Any]] = []
    # User by user, in one order everywhere, so that two replicas never wait for each other in a circle.
    for user_id in sorted(of_users):
        if connection.dialect.name == "postgresql":
            connection.execute(_lock, {"user": user_id})
        log = _Log(connection, asked[of_users[user_id][0]])
        log.date_anew()
        for number in of_users[user_id]:
            decisions[number] = log.hit(asked[number])
        added += log.added()
        log.forget()
    if added:
        connection.execute(_add, added)
    return [decisions[number] for number in range(len(asked))]


def test(connection: Transaction, asked: Hit) -> Decision:
    """Where the user stands, without counting anything."""
    log = _Log(connection, asked)
    return Decision(tuple(log.standing(limit, asked.cost) for limit in asked.limits), log.clock_ran_back)


class _Log:
    """A user's hits in one transaction: read once, however many requests of the user it settles, all at one time.

    Attributes:
        clock_ran_back: whether there are hits in the future. They are read as made now.
    """

    def __init__(self, connection: Transaction, asked: Hit) -> None:
        self._connection = connection
        self._user_id = asked.user_id
        # Read under the lock, so that hits are in order of time.
        self._now_us: int = asked.clock_us() if asked.clock_us else _server_now_us(connection)
        newest = connection.execute(_newest, {"user": asked.user_id}).fetchone()
        self._newest: int = newest[0] if newest else 0
        self.clock_ran_back: bool = newest is not None and newest[1] > self._now_us
        self._windows: dict[int, tuple[int, int | None]] = {}
        self._kept_s = 0
        self._cost = 0

    def date_anew(self) -> None:
        """Have the hits that lie in the future made now: they are the last ones, and keep their order."""
        if self.clock_ran_back:
            self._connection.execute(_date_anew, {"user": self._user_id, "now": self._now_us})

    def hit(self, asked: Hit) -> Decision:
        self._kept_s = max(self._kept_s, asked.kept_s)
        before = [self.standing(limit, asked.cost) for limit in asked.limits]
        if any(standing.wait_s > 0 for standing in before):
            return Decision(tuple(before))
        self._cost += asked.cost
        return Decision(tuple(standing.after(asked.cost) for standing in before))

    def standing(self, limit: Limit, cost: int) -> Standing:
        used, oldest_us = self._window(limit.window_s)
        if self._cost:
            used, oldest_us = used + self._cost, self._now_us if oldest_us is None else oldest_us
        blocking_us = None
        if used + cost > limit.quota >= cost:
            blocking_us = self._at_us(self._newest + self._cost - (limit.quota - cost))
        return Standing.at(limit, self._now_us, used, oldest_us, cost, blocking_us)

    def added(self) -> list[dict[str, Any]]:
        numbers = range(self._newest + 1, self._newest + 1 + self._cost)
        return [{"user_id": self._user_id, "seq": number, "at_us": self._now_us} for number in numbers]

    def forget(self) -> None:
        """Delete some of what is not kept any longer, every so many hits: it is in nobody's way meanwhile."""
        if self._newest // FORGET_EVERY != (self._newest + self._cost) // FORGET_EVERY:
            since_us = self._now_us - max(self._kept_s, *self._windows) * MICROSECONDS
            most = max(FORGOTTEN_AT_ONCE, FORGOTTEN_FOR_EACH * self._cost)
            self._connection.execute(_forget, {"user": self._user_id, "since": since_us, "most": most})

    def _window(self, window_s: int) -> tuple[int, int | None]:
        """The hits in the window before this transaction's own, and the time of the oldest."""
        if window_s not in self._windows:
            since_us = self._now_us - window_s * MICROSECONDS
            first = self._connection.execute(_first_since, {"user": self._user_id, "since": since_us}).fetchone()
            self._windows[window_s] = (self._newest - first[0] + 1, self._past(first[1])) if first else (0, None)
        return self._windows[window_s]

    def _at_us(self, number: int) -> int:
        if number > self._newest:
            return self._now_us
        return self._past(
            _only(self._connection.execute(_numbered, {"user": self._user_id, "number": number}).fetchone())
        )

    def _past(self, at_us: int) -> int:
        return min(at_us, self._now_us)


def _server_now_us(connection: Transaction) -> int:
    return _only(connection.execute(_server_clock, {}).fetchone())


def _only(row: Sequence[Any] | None) -> int:
    assert row is not None
    return int(row[0])
