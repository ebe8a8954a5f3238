"""Counts quotas exactly. A request that is admitted reserves its images; its usage row replaces the reservation.

The used part of a quota is the sum of the answered images in the roll-up and of the reserved images. The transaction
that adds a request's usage row also deletes its reservation. So images that were not answered are free again by
themselves. Both sums go by the time at which the request arrived, as the usage log has it. If an image has a usage row
of its own, that row takes one image from the reservation.

A request may die without a usage row. Its reservation is deleted by the user's next request, once it is `KEPT_S` old.
If the first request is alive after all, its usage row finds no reservation, and it is not answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, text, update

from storage import outbox, quota_marks
from storage.clock import MICROSECONDS
from storage.models import quota_reservations, usage_rollup
from storage.outbox import NewMessage
from storage.quotas import Period, Quota, QuotaStanding
from storage.rollup import BILLABLE_BY_DAY
from storage.sqlite import Transaction

# Longer than any request lasts (60 s by the default time limit, and 25 s while the service ends), even if the clocks of
# replicas differ by minutes.
KEPT_S = 300

_of_user = quota_reservations.c.user_id == bindparam("user")
_delete_dead = delete(quota_reservations).where(_of_user, quota_reservations.c.at_us < bindparam("dead_before"))
_of_request = quota_reservations.c.request_id == bindparam("request")
_delete_one = delete(quota_reservations).where(_of_request)
_take_image = update(quota_reservations).where(_of_request).values(images=quota_reservations.c.images - 1)
_insert = insert(quota_reservations)
_answered = select(func.coalesce(func.sum(usage_rollup.c.billable), 0)).where(
    usage_rollup.c.user_id == bindparam("user"),
    usage_rollup.c.width_s == BILLABLE_BY_DAY,
    usage_rollup.c.start_s >= bindparam("start_s"),
    usage_rollup.c.start_s < bindparam("end_s"),
)
_reserved = select(func.coalesce(func.sum(quota_reservations.c.images), 0)).where(
    _of_user,
    quota_reservations.c.at_us >= bindparam("start_us"),
    quota_reservations.c.at_us < bindparam("end_us"),
)
# One statement, so that PostgreSQL counts a reservation that another transaction replaces once, and not twice or never.
_select_used = select(_answered.scalar_subquery(), _reserved.scalar_subquery())

# PostgreSQL: see `storage/limits.py`.
lock_user = text("SELECT id FROM users WHERE id = :user FOR NO KEY UPDATE")


@dataclass(frozen=True, slots=True)
class QuotaRequest:
    """What a request asks of its user's quotas.

    Attributes:
        user_id: the user.
        quotas: the user's quotas, at least one.
        request_id: the id of the request's usage row.
        images: the number of images.
        at_us: when the request arrived, as its usage row will tell, Unix microseconds.
        tells_owner: whether the owner of the service is told when the user reaches a mark of a quota.
    """

    user_id: str
    quotas: tuple[Quota, ...]
    request_id: str
    images: int
    at_us: int
    tells_owner: bool = False


class Used(NamedTuple):
    """What a user has used of a quota in a period: images that were answered, and that are reserved."""

    answered: int
    reserved: int


class UserQuotas:
    """What one user has used of quotas, in one transaction. The caller holds the lock of the user.

    It is read once for all requests of the user in the transaction. New reservations are collected, until `write`.
    """

    def __init__(self, connection: Transaction, user_id: str) -> None:
        self._connection = connection
        self._user_id = user_id
        self._used: dict[Period, Used] = {}
        self._new: list[dict[str, Any]] = []
        self._messages: list[NewMessage] = []

    def delete_dead(self, at_us: int) -> None:
        """Delete the reservations of requests that died.

        Call it before `standings`, since such a row may just be written.

        Args:
            at_us: when a request of the user arrived, Unix microseconds.
        """
        self._connection.execute(_delete_dead, {"user": self._user_id, "dead_before": _dead_before(at_us)})

    def standings(self, request: QuotaRequest) -> tuple[QuotaStanding, ...]:
        """Return the standing with each quota, before the request is counted."""
        return tuple(
            QuotaStanding.at(quota, request.at_us, self._used_in(quota, request.at_us), request.images)
            for quota in request.quotas
        )

    def reserve(self, request: QuotaRequest, standings: Sequence[QuotaStanding]) -> None:
        """Reserve the images of a request that was admitted.

        Args:
            request: the request.
            standings: what `standings` has returned for it.
        """
        if not request.images:
            return
        self._new.append(
            {
                "request_id": request.request_id,
                "user_id": request.user_id,
                "images": request.images,
                "at_us": request.at_us,
            }
        )
        if request.tells_owner:
            for standing in standings:
                if quota_marks.is_near(standing.quota, standing.remaining - request.images):
                    self._add_messages(standing.quota, request.at_us)

    def _add_messages(self, quota: Quota, at_us: int) -> None:
        answered = self._used[quota.period_at(at_us)].answered
        self._messages += quota_marks.in_reach(self._user_id, quota, answered, self._used_in(quota, at_us), at_us)

    def write(self) -> None:
        """Write the new reservations, and the messages that the owner may have to get."""
        if self._new:
            self._connection.execute(_insert, self._new)
            outbox.add(self._connection, self._messages)

    def _used_in(self, quota: Quota, at_us: int) -> int:
        period = quota.period_at(at_us)
        if period not in self._used:
            self._used[period] = used_in(self._connection, self._user_id, period, at_us)
        answered, reserved = self._used[period]
        start_us, end_us = period.start_s * MICROSECONDS, period.end_s * MICROSECONDS
        new = sum(new["images"] for new in self._new if start_us <= new["at_us"] < end_us)
        return answered + reserved + new


def used_in(connection: Transaction, user_id: str, period: Period, now_us: int) -> Used:
    """Return what the user has used in a period. The reservations of requests that died do not count.

    Args:
        connection: in a transaction.
        user_id: the user.
        period: the month or day.
        now_us: the time, Unix microseconds.
    """
    values = {
        "user": user_id,
        "start_s": period.start_s,
        "end_s": period.end_s,
        "start_us": max(period.start_s * MICROSECONDS, _dead_before(now_us)),
        "end_us": period.end_s * MICROSECONDS,
    }
    row = connection.execute(_select_used, values).fetchone()
    assert row is not None
    # PostgreSQL returns sums of integers as Decimal.
    return Used(int(row[0]), int(row[1]))


def test(connection: Transaction, request: QuotaRequest) -> tuple[QuotaStanding, ...]:
    """Return the user's standing with each quota, before the request is counted. Write nothing."""
    return UserQuotas(connection, request.user_id).standings(request)


def take(connection: Transaction, requests: Sequence[QuotaRequest]) -> Sequence[tuple[QuotaStanding, ...]]:
    """Reserve the images of each request that all quotas of its user admit. For limits that Redis counts.

    Returns:
        For each request, in the same order, the standings: after it if it was admitted, before it if not.
    """
    by_user: dict[str, UserQuotas] = {}
    # All replicas lock users in the same order, which prevents a deadlock.
    for user_id, at_us in sorted({request.user_id: request.at_us for request in requests}.items()):
        if connection.dialect.name == "postgresql":
            connection.execute(lock_user, {"user": user_id})
        by_user[user_id] = UserQuotas(connection, user_id)
        by_user[user_id].delete_dead(at_us)
    results = []
    for request in requests:
        quotas = by_user[request.user_id]
        standings = quotas.standings(request)
        if all(standing.wait_s == 0 for standing in standings):
            quotas.reserve(request, standings)
            standings = tuple(standing.after(request.images) for standing in standings)
        results.append(standings)
    for _, quotas in sorted(by_user.items()):
        quotas.write()
    return results


def _dead_before(at_us: int) -> int:
    return at_us - KEPT_S * MICROSECONDS


def settle(connection: Transaction, request_id: str) -> bool:
    """Delete the reservation of a request, in the transaction that adds its usage row.

    Returns:
        Whether there was one. If not, it was given back, and the request must not be answered.
    """
    return bool(connection.execute(_delete_one, {"request": request_id}).rowcount)


def settle_image(connection: Transaction, request_id: str) -> bool:
    """Take one image from the reservation of a request, in the transaction that adds the usage row of that image.

    Returns:
        Whether there was a reservation. If not, it was given back, and the image must not be answered.
    """
    return bool(connection.execute(_take_image, {"request": request_id}).rowcount)
