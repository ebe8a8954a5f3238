"""Deletes messages from the outbox that were delivered long ago; what Stripe was told stays countable by month.

The messages of a user and month become one, with the sum of their values, in the transaction that deletes them. It has
no first try, by which it is known. So `reconcile` and the meter find the same sums as before.
"""

from sqlalchemy import ColumnElement, Connection, delete, func, select

from storage import customers
from storage import outbox as messages
from storage.clock import MICROSECONDS
from storage.metering import KIND, hour
from storage.models import outbox
from storage.outbox import NewMessage
from storage.quota_marks import REACHED
from storage.sent_reconciliation import MONTH, months

# The meter reads the hours of 35 days one by one, and a quota's mark is told once in a month.
KEPT_AT_LEAST_US = 36 * 86400 * MICROSECONDS

_table = outbox.c


def last_start_s(before_us: int, now_us: int) -> int:
    """Return up to when messages may be deleted: the start of a month, Unix seconds.

    Args:
        before_us: what is older is to be deleted, Unix microseconds.
        now_us: the time, Unix microseconds.
    """
    return MONTH.period_at(min(before_us, now_us - KEPT_AT_LEAST_US)).start_s


def count(connection: Connection, user_id: str, until_s: int) -> int:
    """Return how many messages `prune` would delete of a user."""
    return connection.scalar(select(func.count()).where(*_old(user_id, until_s))) or 0


def prune(connection: Connection, user_id: str, until_s: int) -> int:
    """Delete the delivered messages about a user and the time before `until_s`, the start of a month, Unix seconds.

    Returns:
        How many were deleted.
    """
    first_s = connection.scalar(select(func.min(_table.period_s)).where(*_old(user_id, until_s)))
    if first_s is None:
        return 0
    customer = customers.find(connection, user_id)
    deleted = connection.execute(delete(outbox).where(*_old(user_id, until_s), _table.kind == REACHED)).rowcount
    for start_s, end_s in _spans(first_s, until_s, customer.from_s if customer else first_s):
        of_span = (*_old(user_id, end_s), _table.kind == KIND, _table.period_s >= start_s)
        # What was deleted is added up, rather than what was there: another `prune` may run at the same time.
        sent = connection.execute(delete(outbox).where(*of_span).returning(_table.value, _table.delivered_us)).all()
        if sent:
            deleted += len(sent)
            name, images = f"{user_id}/{hour(start_s)}/sum", sum(value for value, _ in sent)
            told_us = max(delivered_us for _, delivered_us in sent)
            messages.add_delivered(connection, NewMessage(KIND, name, user_id, start_s, images, "", told_us))
    return deleted


def _old(user_id: str, until_s: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of what may be deleted: delivered, and not a sum of such messages."""
    of_user = (_table.user_id == user_id, _table.kind.in_([KIND, REACHED]), _table.period_s < until_s)
    return *of_user, _table.delivered_us.is_not(None), _table.first_tried_us.is_not(None)


def _spans(first_s: int, until_s: int, from_s: int) -> list[tuple[int, int]]:
    """Return the months, divided where a user's images begin to be sent: `reconcile` adds up none across that."""
    if not first_s < from_s < until_s:
        return months(first_s, until_s)
    return months(first_s, from_s) + months(from_s, until_s)
