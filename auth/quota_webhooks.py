"""Tells the owner of the service by a webhook when a user has reached 80 or 100 % of a quota.

A worker looks every second for messages in the outbox (`storage/quota_messages.py`). So a broken receiver delays only
messages. A request at most adds a row to the outbox, and never waits for the receiver.
"""

import asyncio
import logging
import random
from contextlib import suppress
from functools import partial

from prometheus_client import Counter, Gauge

from auth.webhook_delivery import Delivery, Endpoint, Receiver, connected
from storage import quota_messages
from storage.clock import MICROSECONDS
from storage.errors import StorageUnavailable
from storage.outbox import Message
from storage.store import Store

LOOKED_EVERY_S = 1.0
# How long a message waits after each failure, seconds, as Standard Webhooks recommend. After one more it is given up.
RETRIED_AFTER_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
# Receivers that come back should not get all messages at the same moment.
JITTER = 0.1

logger = logging.getLogger("bentoml.classifier")
undelivered = Gauge(
    "classifier_webhooks_undelivered",
    "Messages for the owner's endpoint that are not delivered yet.",
    multiprocess_mode="livemax",
)
attempts_total = Counter("classifier_webhook_attempts", "Attempts to deliver a message to the owner.", ["outcome"])
# Start each counter at zero: Prometheus sees no increase in a counter whose first value is one.
for _outcome in ("delivered", "failed", "given_up"):
    attempts_total.labels(_outcome)


async def keep_sending(store: Store, endpoint: Endpoint) -> None:
    """Send the messages that are due, for as long as the worker runs."""
    while True:
        await asyncio.sleep(LOOKED_EVERY_S)
        try:
            while await send_due(store, endpoint):
                pass
        except StorageUnavailable:
            # The store has told the log. The messages stay in the outbox.
            continue
        except Exception as error:
            logger.error("Webhooks: unexpected %s; they are tried again.", type(error).__name__)  # noqa: TRY400


async def send_due(store: Store, endpoint: Endpoint) -> bool:
    """Decide about messages that wait for a decision, and send some of those that are due.

    Returns:
        Whether there may be more.

    Raises:
        StorageUnavailable: the database does not answer.
    """
    clock_us = store.database_clock
    queue = await store.ask(partial(quota_messages.look, clock_us=clock_us))
    undelivered.set(queue.undelivered)
    has_news = False
    for message_id in queue.undecided:
        decide = partial(quota_messages.decide, message_id=message_id, at_us=store.now_us(), clock_us=clock_us)
        has_news |= await store.change(decide, changes_keys=False)
    claimed: list[Message] = []
    if has_news or queue.is_due:
        claimed = await store.change(partial(quota_messages.claim, clock_us=clock_us), changes_keys=False)
    if claimed:
        async with connected(endpoint) as receiver:
            await asyncio.gather(*(_send(store, receiver, message) for message in claimed))
    return quota_messages.AT_ONCE in (len(queue.undecided), len(claimed))


async def _send(store: Store, receiver: Receiver, message: Message) -> None:
    """Send a message, and note in the outbox whether it was delivered. If the note fails, it is sent again later."""
    delivery = await receiver.send(message.identifier, message.payload)
    wait_s = wait_after(message.tries, delivery)
    after_us = None if wait_s is None else int(wait_s * (1 + JITTER * random.random()) * MICROSECONDS)
    _tell(message.identifier, delivery, after_us)
    conclude = partial(
        quota_messages.conclude,
        message_id=message.id,
        failure=delivery.failure,
        after_us=after_us,
        clock_us=store.database_clock,
    )
    with suppress(StorageUnavailable):
        await store.change(conclude, changes_keys=False)


def _tell(identifier: str, delivery: Delivery, after_us: int | None) -> None:
    """Count an attempt, and write a line to the log if it failed."""
    if delivery.failure is None:
        return attempts_total.labels("delivered").inc()
    attempts_total.labels("given_up" if after_us is None else "failed").inc()
    then = "it is not sent again, unless by `python -m auth webhooks --retry`"
    if after_us is not None:
        then = f"it is sent again in {after_us // MICROSECONDS} s"
    logger.warning("The webhook %s was not delivered: %s; %s.", identifier, delivery.failure, then)


def wait_after(tries: int, delivery: Delivery) -> float | None:
    """Return how long to wait before a message is sent again, seconds; None: it is given up.

    Args:
        tries: how often it was sent before this attempt.
        delivery: what became of this attempt.
    """
    if delivery.is_final or tries >= len(RETRIED_AFTER_S):
        return None
    return max(RETRIED_AFTER_S[tries], min(delivery.retry_after_s, RETRIED_AFTER_S[-1]))
