"""Exact sliding-window log: each admitted image is a row (a *hit*), and a limit counts the hits in its window.

A user's hits are numbered in order of time, without a gap. The number of hits in a window is therefore the difference
of two numbers: each request costs a few index look-ups, whether the limit is 5 or 5 million.

A clock may be set back. A hit in the future then counts as made now: no window ever holds more hits than its limit, and
no user waits longer than a window.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, bindparam, delete, insert, select, update

from storage.clock import MICROSECONDS
from storage.models import hits
from storage.policy import UNITS, Decision, Limit, Standing
from storage.quotas import QuotaStanding
from storage.reservations import QuotaRequest, UserQuotas, lock_user
from storage.reservations import test as test_quotas
from storage.server_clock import read_clock_us
from storage.sqlite import Transaction

# A user's expired hits are deleted in small pieces, so that no request waits for long: once for every `_DELETE_EVERY`
# new hits. More are deleted than were added, so that they become fewer. `limits_redis.lua` has the same numbers.
_DELETE_EVERY = 16
_DELETED_PER_HIT = 4

_of_user = hits.c.user_id == bindparam("user")
_now = bindparam("now", type_=BigInteger)
_select_newest = select(hits.c.seq, hits.c.at_us).where(_of_user).order_by(hits.c.seq.desc()).limit(1)
_select_oldest_since = (
    select(hits.c.seq, hits.c.at_us)
    .where(_of_user, hits.c.at_us >= bindparam("since"))
    .order_by(hits.c.at_us, hits.c.seq)
    .limit(1)
)
_select_time = select(hits.c.at_us).where(_of_user, hits.c.seq == bindparam("number"))
_insert_hits = insert(hits)
_move_future_to_now = update(hits).where(_of_user, hits.c.at_us > _now).values(at_us=_now)
_select_expired = (
    select(hits.c.seq)
    .where(_of_user, hits.c.at_us < bindparam("since"))
    .order_by(hits.c.at_us, hits.c.seq)
    .limit(bindparam("most"))
)
_delete_expired = delete(hits).where(_of_user, hits.c.seq.in_(_select_expired))


class HitRequest(NamedTuple):
    """A request to admit or refuse.

    Attributes:
        user_id: the user who pays for the request.
        limits: all limits of the user.
        cost: the number of images.
        clock_us: returns the time, Unix microseconds; None: use the clock of the server (PostgreSQL or Redis), which
            all replicas share. SQLite has no server and needs a clock.
        kept_s: the shortest time for which the user's hits are kept, seconds. It covers limits that the user had
            before, and may have again.
        quota: what the request asks of the user's quotas; None if the user has none.
    """

    user_id: str
    limits: tuple[Limit, ...]
    cost: int
    clock_us: Callable[[], int] | None
    kept_s: int = UNITS["day"]
    quota: QuotaRequest | None = None


def hit(connection: Transaction, requests: Sequence[HitRequest]) -> Sequence[Decision]:
    """Admit and count each request that all limits and quotas of its user allow. A refused request is not counted.

    Args:
        connection: in a transaction; on SQLite, in one that holds the write lock.
        requests: the requests, of any users.

    Returns:
        One decision for each request, in the same order.
    """
    indexes_by_user: dict[str, list[int]] = {}
    for index, request in enumerate(requests):
        indexes_by_user.setdefault(request.user_id, []).append(index)
    decisions: dict[int, Decision] = {}
    new_rows: list[dict[str, Any]] = []
    # All replicas lock users in the same order, which prevents a deadlock.
    for user_id in sorted(indexes_by_user):
        if connection.dialect.name == "postgresql":
            connection.execute(lock_user, {"user": user_id})
        log = _UserLog(connection, requests[indexes_by_user[user_id][0]])
        log.move_future_hits_to_now()
        for index in indexes_by_user[user_id]:
            decisions[index] = log.hit(requests[index])
        new_rows += log.new_rows()
        log.delete_expired()
        log.write_reservations()
    if new_rows:
        connection.execute(_insert_hits, new_rows)
    return [decisions[index] for index in range(len(requests))]


def test(connection: Transaction, request: HitRequest) -> Decision:
    """Return the user's standing, and whether the request would be admitted. Write nothing."""
    log = _UserLog(connection, request)
    standings = tuple(log.standing(limit, request.cost) for limit in request.limits)
    quotas = test_quotas(connection, request.quota) if request.quota else ()
    return Decision(standings, log.clock_ran_back, quotas)


class _UserLog:
    """The hits of one user in one transaction.

    They are read once, for all requests of the user in the transaction, which share one time. New hits are collected
    here, and written by the caller.

    Attributes:
        clock_ran_back: whether hits lie in the future. They are read as made now.
    """

    def __init__(self, connection: Transaction, request: HitRequest) -> None:
        self._connection = connection
        self._user_id = request.user_id
        # The time is read under the lock, so that hits are numbered in order of time.
        self._now_us: int = read_clock_us(connection, request.clock_us)
        newest = connection.execute(_select_newest, {"user": request.user_id}).fetchone()
        self._newest: int = newest[0] if newest else 0
        self.clock_ran_back: bool = newest is not None and newest[1] > self._now_us
        self._windows: dict[int, tuple[int, int | None]] = {}
        self._kept_s = 0
        self._added = 0
        self._quotas: UserQuotas | None = None

    def move_future_hits_to_now(self) -> None:
        """Set the time of hits in the future to now. They are the newest hits, so their numbers stay in order."""
        if self.clock_ran_back:
            self._connection.execute(_move_future_to_now, {"user": self._user_id, "now": self._now_us})

    def hit(self, request: HitRequest) -> Decision:
        """Admit the request, and add its hits and its reservation, if every limit and quota allows it."""
        self._kept_s = max(self._kept_s, request.kept_s)
        limits = tuple(self.standing(limit, request.cost) for limit in request.limits)
        quotas = self._quota_standings(request.quota) if request.quota else ()
        before = Decision(limits, quotas=quotas)
        if not before.admitted:
            return before
        self._added += request.cost
        if self._quotas is None or request.quota is None:
            return before.after(request.cost)
        self._quotas.reserve(request.quota, quotas)
        return before.after(request.cost, request.quota.images)

    def write_reservations(self) -> None:
        """Write the reservations of the admitted requests."""
        if self._quotas is not None:
            self._quotas.write()

    def _quota_standings(self, request: QuotaRequest) -> tuple[QuotaStanding, ...]:
        if self._quotas is None:
            self._quotas = UserQuotas(self._connection, self._user_id)
            self._quotas.delete_dead(request.at_us)
        return self._quotas.standings(request)

    def standing(self, limit: Limit, cost: int) -> Standing:
        """Return the user's standing with the limit, before a request of `cost` images is counted."""
        used, oldest_us = self._stored_window(limit.window_s)
        used += self._added
        if oldest_us is None and self._added > 0:
            oldest_us = self._now_us
        blocking_us = self._blocking_us(limit.quota, used, cost)
        return Standing.at(limit, self._now_us, used, oldest_us, cost, blocking_us)

    def new_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the added hits."""
        numbers = range(self._newest + 1, self._newest + 1 + self._added)
        return [{"user_id": self._user_id, "seq": number, "at_us": self._now_us} for number in numbers]

    def delete_expired(self) -> None:
        """Delete some of the hits that need not be kept, once in `_DELETE_EVERY` hits. Meanwhile they do no harm."""
        if self._newest // _DELETE_EVERY == (self._newest + self._added) // _DELETE_EVERY:
            return
        since_us = self._now_us - max(self._kept_s, *self._windows) * MICROSECONDS
        most = _DELETED_PER_HIT * max(_DELETE_EVERY, self._added)
        self._connection.execute(_delete_expired, {"user": self._user_id, "since": since_us, "most": most})

    def _stored_window(self, window_s: int) -> tuple[int, int | None]:
        """Return the number of hits in the window, and the time of the oldest, without the added hits."""
        if window_s in self._windows:
            return self._windows[window_s]
        since_us = self._now_us - window_s * MICROSECONDS
        oldest = self._connection.execute(_select_oldest_since, {"user": self._user_id, "since": since_us}).fetchone()
        used, oldest_us = 0, None
        if oldest is not None:
            number, at_us = oldest
            used, oldest_us = self._newest - number + 1, min(at_us, self._now_us)
        self._windows[window_s] = used, oldest_us
        return used, oldest_us

    def _blocking_us(self, quota: int, used: int, cost: int) -> int | None:
        """Return the time of the hit that must leave the window before the request fits.

        None if the request fits now, or costs more than the whole quota.
        """
        if used + cost <= quota or cost > quota:
            return None
        # The request fits beside the newest `quota - cost` hits. The hit before those is the last that must leave.
        blocking = self._newest + self._added - (quota - cost)
        if blocking > self._newest:
            return self._now_us
        found = self._connection.execute(_select_time, {"user": self._user_id, "number": blocking}).fetchone()
        return min(_single_value(found), self._now_us)


def _single_value(row: Sequence[Any] | None) -> int:
    assert row is not None
    return int(row[0])
