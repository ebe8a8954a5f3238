"""Compares the usage log's sums with what was sent to Stripe, by user and month.

Messages that are still due are no difference, nor are images of the last day that no run of the meter has seen yet. A
message that was given up is a difference, until the owner has said whether it was counted.
"""

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from storage.clock import MICROSECONDS
from storage.customers import Customer
from storage.metering import HOUR_S, KIND, logged
from storage.models import outbox
from storage.quotas import Quota
from storage.rollup import DAY_S

MONTH = Quota(1, "month")


class Month(NamedTuple):
    """A user's billable images in a month, or in the part of it from which on they are sent.

    Attributes:
        start_s: the start of the month, Unix seconds.
        in_log: the images in the usage log, without those of the last 24 hours.
        told: the images in messages that were delivered or are due, without those of the last 24 hours.
        delivered: all images in messages that were delivered.
        due: all images in messages that are still to be sent.
        unseen: the images of the last 24 hours in the usage log that no message has yet; below 0 if messages have more.
    """

    start_s: int
    in_log: int
    told: int
    delivered: int
    due: int
    unseen: int

    @property
    def agrees(self) -> bool:
        """Whether the messages that were sent or are due have as many images as the usage log."""
        return self.in_log == self.told and self.unseen >= 0


def months(from_s: int, now_s: int) -> list[tuple[int, int]]:
    """Return the months from a time until the last hour that has ended, Unix seconds; the first may begin later."""
    found, until_s = [], now_s // HOUR_S * HOUR_S
    while from_s < until_s:
        end_s = MONTH.period_at(from_s * MICROSECONDS).end_s
        found.append((from_s, min(end_s, until_s)))
        from_s = end_s
    return found


def compare(connection: Connection, customer: Customer, span: tuple[int, int], now_s: int) -> Month:
    """Compare a month.

    Args:
        connection: a connection.
        customer: the user.
        span: the month, as `months` returns it.
        now_s: the time, Unix seconds.
    """
    from_s, to_s = span
    # The hours that ended more than a day ago. The meter runs every hour, so it has seen these.
    seen_s = min(to_s, max(from_s, (now_s - DAY_S) // HOUR_S * HOUR_S))
    # The messages are read first: the log only grows meanwhile, so it can't seem to have too few images.
    delivered, due = _told(connection, customer.user_id, from_s, seen_s)
    delivered_late, due_late = _told(connection, customer.user_id, seen_s, to_s)
    in_log = logged(connection, customer.user_id, from_s, seen_s)
    unseen = logged(connection, customer.user_id, seen_s, to_s) - delivered_late - due_late
    return Month(from_s, in_log, delivered + due, delivered + delivered_late, due + due_late, unseen)


def _told(connection: Connection, user_id: str, from_s: int, to_s: int) -> tuple[int, int]:
    """Return the images of messages that were delivered, and of those that are due."""
    table = outbox.c
    in_span = (table.user_id == user_id, table.kind == KIND, table.period_s >= from_s, table.period_s < to_s)
    delivered = select(func.sum(table.value)).where(*in_span, table.delivered_us.is_not(None))
    due = select(func.sum(table.value)).where(*in_span, table.delivered_us.is_(None), table.due_us.is_not(None))
    return int(connection.scalar(delivered) or 0), int(connection.scalar(due) or 0)
