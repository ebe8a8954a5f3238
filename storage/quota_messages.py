"""Decides whether a user has reached a mark of a quota, and writes the message that says so, once for each period.

`quota_marks.py` says when a message begins to wait for a decision. The lock of the user keeps decisions and admissions
apart in time, so no admission adds a message while it is being deleted.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from storage import outbox as messages
from storage.clock import MICROSECONDS, iso
from storage.models import outbox, users
from storage.outbox import Message
from storage.quota_marks import NEARING, REACHED
from storage.quotas import Quota
from storage.reservations import lock_user, used_in
from storage.server_clock import Clock, read_clock_us

# A message that can't be decided yet is looked at again after this time: a request lasts about as long.
AGAIN_US = 1 * MICROSECONDS
# The most messages that are decided or claimed at once.
AT_ONCE = 8
# Longer than an attempt to deliver a message may take.
LEASE_US = 60 * MICROSECONDS

_table = outbox.c


class Queue(NamedTuple):
    """What waits in the outbox.

    Attributes:
        undecided: the ids of messages that wait for a decision, and are due; at most `AT_ONCE`.
        undelivered: how many messages are to be delivered, now or later.
        is_due: whether one of them is due.
    """

    undecided: list[int]
    undelivered: int
    is_due: bool


def look(connection: Connection, clock_us: Clock) -> Queue:
    """Return what waits. Change nothing, and read only an index if nothing waits.

    Args:
        connection: in a transaction.
        clock_us: returns the time, Unix microseconds; None: use the clock of the database's server.
    """
    counted = select(_table.kind, func.count(), func.min(_table.due_us)).group_by(_table.kind)
    rows = connection.execute(counted.where(_table.kind.in_([NEARING, REACHED]), _table.due_us.is_not(None)))
    found = {kind: (number, due_us) for kind, number, due_us in rows}
    if not found:
        return Queue([], 0, False)
    now_us = read_clock_us(connection, clock_us)
    is_due = (_table.kind == NEARING, _table.due_us <= now_us)
    ids = connection.scalars(select(_table.id).where(*is_due).order_by(_table.id).limit(AT_ONCE))
    undelivered, due_us = found.get(REACHED, (0, now_us + 1))
    return Queue(list(ids), undelivered, due_us <= now_us)


def decide(connection: Connection, message_id: int, at_us: int, clock_us: Clock) -> bool:
    """Decide whether a waiting message is delivered, deleted, or goes on waiting.

    It goes on waiting as long as the images that are reserved may still reach the mark.

    Args:
        connection: in a write transaction.
        message_id: the message.
        at_us: now, Unix microseconds, by the clock that says when requests arrive.
        clock_us: as for `look`.

    Returns:
        Whether it is to be delivered.
    """
    this = (_table.id == message_id, _table.kind == NEARING)
    waiting = _lock(connection, this)
    if waiting is None:
        return False
    quota, percent = _mark(waiting.payload)
    period = quota.period_at(waiting.period_s * MICROSECONDS)
    used = used_in(connection, waiting.user_id, period, at_us)
    if used.answered >= waiting.value:
        data = {
            "user_id": waiting.user_id,
            "plan": connection.scalar(select(users.c.plan).where(users.c.id == waiting.user_id)),
            "quota": str(quota),
            "percent": percent,
            "used": used.answered,
            "limit": quota.images,
            "period_start": iso(period.start_s * MICROSECONDS),
            "period_end": iso(period.end_s * MICROSECONDS),
        }
        reached = {"kind": REACHED, "payload": event(REACHED, at_us, data), "value": used.answered, "created_us": at_us}
        connection.execute(update(outbox).where(*this).values(reached))
    elif sum(used) < waiting.value:
        connection.execute(delete(outbox).where(*this))
    else:
        connection.execute(update(outbox).where(*this).values(due_us=read_clock_us(connection, clock_us) + AGAIN_US))
    return used.answered >= waiting.value


def _lock(connection: Connection, this: tuple[ColumnElement[bool], ...]) -> Row[Any] | None:
    """Lock the user of a waiting message, and return the row of the message; None if it waits no more."""
    waiting = outbox.select().where(*this)
    row = connection.execute(waiting).one_or_none()
    if row is not None and connection.dialect.name == "postgresql":
        connection.execute(lock_user, {"user": row.user_id})
        # Another process may have decided since it was read.
        row = connection.execute(waiting).one_or_none()
    return row


def _mark(payload: str) -> tuple[Quota, int]:
    """Return the quota and the percent of a message that waits."""
    mark = json.loads(payload)
    return Quota.parse(mark["quota"]), mark["percent"]


def event(kind: str, at_us: int, data: dict[str, Any]) -> str:
    """Return a message as the owner receives it.

    Args:
        kind: what it tells of, such as `quota.reached`.
        at_us: when it was so, Unix microseconds.
        data: what it tells.
    """
    return json.dumps({"type": kind, "timestamp": iso(at_us), "data": data})


def claim(connection: Connection, clock_us: Clock) -> list[Message]:
    """Take up to `AT_ONCE` messages that are to be delivered; no other process gets them for `LEASE_US`."""
    return messages.claim(connection, REACHED, read_clock_us(connection, clock_us), LEASE_US, AT_ONCE)


def conclude(
    connection: Connection, message_id: int, failure: str | None, after_us: int | None, clock_us: Clock
) -> None:
    """Note what became of an attempt to deliver a message.

    Args:
        connection: in a write transaction.
        message_id: the message.
        failure: why it was not delivered; None: it was.
        after_us: how long to wait before it is sent again, microseconds; None: it is not sent again.
        clock_us: as for `look`.
    """
    if failure is None:
        messages.settle(connection, message_id, read_clock_us(connection, clock_us))
    elif after_us is None:
        messages.give_up(connection, message_id, failure)
    else:
        messages.postpone(connection, message_id, read_clock_us(connection, clock_us) + after_us, failure)


def undelivered(connection: Connection) -> Sequence[Row[Any]]:
    """Return the rows of the messages that were not delivered, the oldest first, also of those that were given up."""
    return messages.undelivered(connection, REACHED)


def retry(connection: Connection, clock_us: Clock) -> int:
    """Make the messages that were not delivered due now, as if they had not been tried; return how many."""
    return messages.retry(connection, REACHED, read_clock_us(connection, clock_us))
