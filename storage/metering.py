"""Finds out what to send to Stripe: for each user and hour, the billable images that no message in the outbox has yet.

A message is written in the transaction that reads the sums. Its identifier names the user, the hour, and the number of
the message in that hour. If a row is logged after its hour was sent, the hour gets another message, with the
difference. So each image is in exactly one message, however often and by however many processes the sums are read.
"""

import json
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, update

from storage import outbox, rollup
from storage.clock import MICROSECONDS, iso
from storage.errors import Refused
from storage.models import outbox as outbox_table
from storage.models import usage_rollup
from storage.outbox import NewMessage
from storage.rollup import Span

KIND = "stripe.meter"
HOUR_S = 3600
# Stripe takes events of the past 35 days. An hour less, so that a message which is written now can still be sent.
OLDEST_S = 35 * 86400 - HOUR_S

_table = outbox_table.c
_is_given_up = (_table.kind == KIND, _table.due_us.is_(None), _table.delivered_us.is_(None), _table.value > 0)


class Count(NamedTuple):
    """Billable images of a user in an hour, which are to be sent.

    Attributes:
        user_id: the user.
        customer: the customer that Stripe knows the user by.
        hour_s: the start of the hour, Unix seconds.
        images: the number of images.
        number: which message of this hour it is, from 1.
    """

    user_id: str
    customer: str
    hour_s: int
    images: int
    number: int

    @property
    def identifier(self) -> str:
        """The identifier by which Stripe knows the message."""
        return f"{self.user_id}/{hour(self.hour_s)}/{self.number}"

    def message(self, now_us: int) -> NewMessage:
        """Return the message with this count."""
        # The start of the hour: never in the future for Stripe, even if this machine's clock is some minutes ahead.
        payload = json.dumps({"customer": self.customer, "timestamp": self.hour_s})
        return NewMessage(KIND, self.identifier, self.user_id, self.hour_s, self.images, payload, now_us)


class GivenUp(NamedTuple):
    """A message that is not sent any more, although nobody knows that it was counted."""

    user_id: str
    identifier: str
    hour_s: int
    images: int
    failure: str


def hour(hour_s: int) -> str:
    """Return an hour as people read it, UTC: `2026-11-01T05Z`."""
    return f"{(iso(hour_s * MICROSECONDS) or '')[:13]}Z"


def uncounted(connection: Connection, user_id: str, customer: str, from_s: int, now_s: int) -> list[Count]:
    """Return what is to be sent of a user: of each hour that has ended and that Stripe still takes.

    Args:
        connection: a connection.
        user_id: the user.
        customer: the customer that Stripe knows the user by.
        from_s: the start of the first hour to send, Unix seconds.
        now_s: the time, Unix seconds.

    Raises:
        Refused: more was sent of an hour than the log has.
    """
    first_s, until_s = max(from_s, now_s - OLDEST_S), now_s // HOUR_S * HOUR_S
    of_hours = (usage_rollup.c.width_s == HOUR_S, usage_rollup.c.start_s >= first_s, usage_rollup.c.start_s < until_s)
    sums = (
        select(usage_rollup.c.start_s, func.sum(usage_rollup.c.billable))
        .where(usage_rollup.c.user_id == user_id, *of_hours)
        .group_by(usage_rollup.c.start_s)
    )
    of_outbox = (*_of_user(user_id), _table.period_s >= first_s, _table.period_s < until_s)
    # Read first and in one statement: if another process adds a message meanwhile, it takes the number that is read
    # here.
    written = select(_table.period_s, func.sum(_table.value), func.count()).where(*of_outbox).group_by(_table.period_s)
    told = {hour_s: (int(images), number) for hour_s, images, number in connection.execute(written)}
    has = {hour_s: int(billable or 0) for hour_s, billable in connection.execute(sums)}
    counts = []
    for hour_s in sorted(told | has):
        images, number = told.get(hour_s, (0, 0))
        difference = has.get(hour_s, 0) - images
        if difference < 0:
            raise Refused(_too_much(user_id, hour_s, images, has.get(hour_s, 0)))
        if difference:
            counts.append(Count(user_id, customer, hour_s, difference, number + 1))
    return counts


def write(connection: Connection, user_id: str, customer: str, from_s: int, now_us: int) -> list[Count]:
    """Write what is to be sent of a user to the outbox, and return it; see `uncounted`."""
    counts = uncounted(connection, user_id, customer, from_s, now_us // MICROSECONDS)
    outbox.add(connection, [count.message(now_us) for count in counts])
    return counts


def expired(connection: Connection, user_id: str, from_s: int, now_s: int) -> int:
    """Return how many images of a user were never sent, and are too old for Stripe."""
    until_s = (now_s - OLDEST_S + HOUR_S - 1) // HOUR_S * HOUR_S
    if from_s >= until_s:
        return 0
    return max(0, logged(connection, user_id, from_s, until_s) - _sum(connection, user_id, from_s, until_s))


def logged(connection: Connection, user_id: str, from_s: int, to_s: int) -> int:
    """Return the billable images of a user in a span of whole hours, Unix seconds, by the log's sums."""
    return rollup.total(connection, user_id, Span(HOUR_S, from_s, to_s, None, 0))[0] or 0


def due_messages(connection: Connection) -> list[Any]:
    """Return the messages that are still to be sent: user, hour, images, payload and identifier."""
    columns = (_table.user_id, _table.period_s, _table.value, _table.payload, _table.identifier)
    of_kind = (_table.kind == KIND, _table.due_us.is_not(None))
    return list(connection.execute(select(*columns).where(*of_kind).order_by(_table.id)))


def given_up(connection: Connection, name: str | None = None) -> list[GivenUp]:
    """Return the messages that are not sent any more, of a user or an identifier, or all of them."""
    columns = (_table.user_id, _table.identifier, _table.period_s, _table.value, _table.failure)
    chosen = () if name is None else ((_table.identifier == name) | (_table.user_id == name),)
    found = connection.execute(select(*columns).where(*_is_given_up, *chosen).order_by(_table.user_id, _table.period_s))
    return [GivenUp(*row) for row in found]


def resolve(connection: Connection, identifier: str, was_counted: bool, now_us: int) -> None:
    """Note what the owner has found out about a message that was given up.

    If it was not counted, it tells of 0 images from now on, so that the next message of the hour tells of them.
    """
    values = {"delivered_us": now_us, "failure": None} if was_counted else {"value": 0}
    of_message = (*_is_given_up, _table.identifier == identifier)
    connection.execute(update(outbox_table).where(*of_message).values(values))


def withdraw(connection: Connection, user_id: str) -> None:
    """Take back the messages of a user that were never sent, so that Stripe can't have counted them.

    Such a message is about 0 images from now on. Its images are in the next message about that hour, for the customer
    that the user has then.
    """
    is_untried = (*_of_user(user_id), _table.due_us.is_not(None), _table.first_tried_us.is_(None))
    connection.execute(update(outbox_table).where(*is_untried).values(value=0, due_us=None, failure=None))


def _of_user(user_id: str) -> tuple[Any, ...]:
    return (_table.user_id == user_id, _table.kind == KIND)


def _sum(connection: Connection, user_id: str, from_s: int, to_s: int, *which: Any) -> int:
    in_span = (*_of_user(user_id), _table.period_s >= from_s, _table.period_s < to_s, *which)
    return int(connection.scalar(select(func.sum(_table.value)).where(*in_span)) or 0)


def _too_much(user_id: str, hour_s: int, sent: int, has: int) -> str:
    return (
        f"User {user_id}, {hour(hour_s)}: {sent:,} images were sent to Stripe, but the usage log has {has:,}. "
        "Nothing is sent until you have found out why; `reconcile` compares all sums."
    )
