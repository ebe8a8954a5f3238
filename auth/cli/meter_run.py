"""Runs the meter once: writes messages about new images to the outbox, then claims, sends and settles each message.

A process that is killed between two steps leaves a message that was written and not settled. A later run sends it again
with the same identifier, so the receiver counts it once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

from storage import customers, metering, outbox
from storage.clock import MICROSECONDS, iso, unix_us
from storage.customers import Customer
from storage.database import Database
from storage.errors import Refused
from storage.metering import KIND, OLDEST_S, Count, hour
from storage.outbox import Message

# Longer than sending a message takes, if it is answered at all.
LEASE_S = 120
# Stripe knows an identifier for at least 24 hours.
KNOWN_FOR_S = 23 * 3600
FIRST_RETRY_S, LAST_RETRY_S = 60, 3600
# If Stripe fails for every message, a run ends after MOST_FAILURES in a row, or if it would wait for LONGEST_WAIT_S.
MOST_FAILURES, LONGEST_WAIT_S = 3, 30
_UNKNOWN = "nobody knows whether it was counted: the first try was more than 23 hours ago, and none was confirmed"
_EXPIRED = "its hour is more than 35 days ago"


class NoAccess(Refused):
    """The receiver takes nothing with this key."""


class Delivery(NamedTuple):
    """The outcome of an attempt to deliver a message.

    Attributes:
        is_counted: whether the receiver has counted it, now or before.
        failure: why it was not counted.
        is_final: whether sending it again would fail too.
        may_be_counted: whether the receiver may have counted it although there is a failure.
        is_general: whether other messages would fail too.
        wait_s: how long the receiver asks to wait, seconds; None: it does not say.
    """

    is_counted: bool
    failure: str = ""
    is_final: bool = False
    may_be_counted: bool = False
    is_general: bool = False
    wait_s: float | None = None


class Sender(Protocol):
    """Sends messages."""

    def send(self, message: Message) -> Delivery:
        """Send a message, once.

        Raises:
            NoAccess: the receiver takes nothing with this key.
        """


@dataclass
class Report:
    """What a run has done.

    Attributes:
        sent: the number of messages that the receiver has counted.
        images: the number of images that these messages report.
        failures: why other messages were not delivered: the hour of a user, and the reason.
    """

    sent: int = 0
    images: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, message: Message, delivery: Delivery) -> None:
        """Add what became of a message."""
        if delivery.is_counted:
            self.sent += 1
            self.images += message.value
        else:
            then = "it is given up" if delivery.is_final else "a later run sends it again"
            self.failures.append(f"user {message.user_id}, {hour(message.period_s)}: {delivery.failure}; {then}")


def write(database: Database, now_us: int) -> list[str]:
    """Write messages about the new images of all users to the outbox, each user in a transaction of its own.

    Returns:
        Which images can't be sent, and why.
    """
    problems = []
    for customer in database.ask(customers.every):
        try:
            # Most users have nothing new, and need no transaction that keeps others from writing.
            if database.ask(partial(_uncounted, customer=customer, now_us=now_us)):
                database.change(partial(_write, user_id=customer.user_id, now_us=now_us))
        except Refused as refused:
            problems.append(str(refused))
        problems += expired(database, customer, now_us)
    return problems


def uncounted(database: Database, now_us: int) -> list[Count]:
    """Return what `write` would write."""
    found = []
    for customer in database.ask(customers.every):
        found += database.ask(partial(_uncounted, customer=customer, now_us=now_us))
    return found


def expired(database: Database, customer: Customer, now_us: int) -> list[str]:
    """Return that images of a user were not sent in time, if so."""
    user_id, from_s = customer.user_id, customer.from_s
    find = partial(metering.expired, user_id=user_id, from_s=from_s, now_s=now_us // MICROSECONDS)
    images = database.ask(find)
    if not images:
        return []
    last = iso(now_us - OLDEST_S * MICROSECONDS)
    return [
        f"User {user_id}: {images:,} images of {hour(from_s)} to {last} were not sent in time, and Stripe takes nothing"
        " older than 35 days. Bill them by hand, then `set-customer` with a later --from."
    ]


def _uncounted(connection: Any, customer: Customer, now_us: int) -> list[Count]:
    return metering.uncounted(connection, *customer, now_us // MICROSECONDS)


def _write(connection: Any, user_id: str, now_us: int) -> None:
    # Read again: somebody may have named another customer meanwhile.
    customer = customers.find(connection, user_id)
    if customer is not None:
        metering.write(connection, *customer, now_us)


def send(
    database: Database,
    sender: Sender,
    clock_us: Callable[[], int] = unix_us,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[Report], None] = lambda _report: None,
) -> Report:
    """Send all messages that are due.

    Args:
        database: the database.
        sender: sends a message.
        clock_us: returns the time, Unix microseconds.
        sleep: waits for a number of seconds.
        tell: is called after each message.

    Raises:
        NoAccess: the receiver takes nothing with this key.
    """
    report, failed_in_a_row = Report(), 0
    while claimed := database.change(lambda c: outbox.claim(c, KIND, clock_us(), LEASE_S * MICROSECONDS, 1)):
        [message] = claimed
        delivery = _stale(message, clock_us()) or _send(database, sender, message, clock_us)
        _settle(database, message, delivery, clock_us)
        report.add(message, delivery)
        tell(report)
        failed_in_a_row = failed_in_a_row + 1 if delivery.is_general else 0
        if failed_in_a_row:
            wait_s = 2.0 ** (failed_in_a_row - 1) if delivery.wait_s is None else delivery.wait_s
            if failed_in_a_row >= MOST_FAILURES or wait_s > LONGEST_WAIT_S:
                break
            sleep(wait_s)
    database.change(outbox.forget_erased)
    return report


def _stale(message: Message, now_us: int) -> Delivery | None:
    """Return the failure of a message that must not be sent any more; None if it may be sent."""
    tried_us = message.first_tried_us
    if tried_us is not None and now_us - tried_us >= KNOWN_FOR_S * MICROSECONDS:
        return Delivery(False, _UNKNOWN, is_final=True)
    if message.period_s < now_us // MICROSECONDS - OLDEST_S - metering.HOUR_S:
        return Delivery(False, _EXPIRED, is_final=True)
    return None


def _send(database: Database, sender: Sender, message: Message, clock_us: Callable[[], int]) -> Delivery:
    try:
        return sender.send(message)
    except NoAccess as refused:
        _settle(database, message, Delivery(False, str(refused)), clock_us)
        raise


def _settle(database: Database, message: Message, delivery: Delivery, clock_us: Callable[[], int]) -> None:
    """Note in the outbox what became of a message."""
    if delivery.is_counted:
        database.change(partial(outbox.settle, message_id=message.id, delivered_us=clock_us()))
    elif delivery.is_final:
        database.change(partial(outbox.give_up, message_id=message.id, failure=delivery.failure))
    else:
        backoff_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(message.tries, 10))
        due_us = clock_us() + int(max(backoff_s, delivery.wait_s or 0) * MICROSECONDS)
        is_untried = message.first_tried_us is None and not delivery.may_be_counted
        change = partial(outbox.postpone, message_id=message.id, due_us=due_us, failure=delivery.failure)
        database.change(partial(change, is_untried=is_untried))
