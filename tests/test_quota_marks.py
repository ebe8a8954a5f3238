"""The messages about quotas: one for each mark that is reached, whatever the concurrency of requests and workers."""

import asyncio
import itertools
import json
import random
import threading
import time
from functools import partial
from typing import Any

import pytest

from storage import limits, quota_messages
from storage.limits import HitRequest
from storage.models import outbox
from storage.outbox import Message
from storage.quota_marks import REACHED, images_at
from storage.quotas import Quota
from storage.reservations import KEPT_S, QuotaRequest
from storage.store import Store
from storage.usage import UsageRow
from tests.test_quotas import LIMITS, QUOTA, Replicas, replicas

__all__ = ["replicas"]

QUOTAS = (Quota(QUOTA, "month"), Quota(QUOTA + 5, "day"))


class Requests:
    """Sends requests of one user to two processes' stores, and decides about messages meanwhile."""

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.answered = 0
        self._numbers = itertools.count(1)

    async def request(self, images: int, answered: int | None) -> None:
        """Send a request, of which so many images are answered; None: it dies before its row is written."""
        number = next(self._numbers)
        # Admitted by one replica and logged by it, beside those of the other.
        store, user, at_us = self.replicas.stores[number % 2], self.replicas.user, self.replicas.at_us
        asked = QuotaRequest(user, QUOTAS, f"req_{number}", images, at_us, tells_owner=True)
        if not (await store.hit(user, LIMITS, images, quota=asked)).admitted or answered is None:
            return
        await asyncio.sleep(random.random() / 100)
        status = 200 if answered else 400
        row = UsageRow(asked.request_id, user, "key", "/v2/classify", "POST", status, 5.0, at_us, images, answered)
        if await store.record(row._replace(takes_quota=True)) is None:
            self.answered += answered

    async def decide(self, store: Store) -> None:
        """Decide about the messages that wait, as a worker does every second."""
        queue = await store.ask(partial(quota_messages.look, clock_us=lambda: 2**62))
        for message_id in queue.undecided:
            decide = partial(quota_messages.decide, message_id=message_id, at_us=self.replicas.at_us)
            await store.change(partial(decide, clock_us=lambda: self.replicas.at_us), changes_keys=False)

    async def decide_beside(self, *requests: Any) -> None:
        """Run requests at once, while both replicas decide again and again."""
        is_over = False

        async def keep_deciding(store: Store) -> None:
            while not is_over:
                await self.decide(store)

        async def run() -> None:
            nonlocal is_over
            await asyncio.gather(*requests)
            is_over = True

        await asyncio.gather(run(), *map(keep_deciding, self.replicas.stores))

    def messages(self) -> list[tuple[str, str, int]]:
        """The kind, the quota and the percent of each message."""
        rows = self.replicas.database.ask(lambda connection: connection.execute(outbox.select()).all())
        payloads = [json.loads(row.payload) for row in rows]
        marks = [payload.get("data", payload) for payload in payloads]
        return sorted((row.kind, mark["quota"], mark["percent"]) for row, mark in zip(rows, marks, strict=True))

    def reached(self) -> list[tuple[str, str, int]]:
        """The messages that there should be, now that all requests are over."""
        return sorted(
            (REACHED, str(quota), percent)
            for quota, percent in itertools.product(QUOTAS, (80, 100))
            if self.answered >= images_at(quota, percent)
        )


def test_64_callers_across_a_mark_give_one_message(replicas: Replicas) -> None:
    async def run() -> None:
        requests = Requests(replicas)
        await requests.decide_beside(*(requests.request(1, 1) for _ in range(64)))
        await requests.decide(replicas.stores[0])
        assert requests.answered == QUOTA
        assert requests.messages() == requests.reached()
        assert [(quota, percent) for _, quota, percent in requests.reached()] == [
            ("20/month", 80),
            ("20/month", 100),
            ("25/day", 80),
        ]
        await replicas.close()

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(4))
def test_a_mark_is_told_if_and_only_if_it_is_reached(replicas: Replicas, seed: int) -> None:
    chance = random.Random(seed)

    async def run() -> None:
        requests = Requests(replicas)
        for _ in range(6):
            wanted = [chance.choice([1, 1, 2, 3]) for _ in range(6)]
            fates = [chance.choice([images, images, chance.randint(0, images), 0, None]) for images in wanted]
            await requests.decide_beside(*map(requests.request, wanted, fates))
            replicas.at_us += (KEPT_S + 1) * 1_000_000
            for store in replicas.stores:
                await requests.decide(store)
            assert requests.messages() == requests.reached()
        await replicas.close()

    asyncio.run(run())


@pytest.mark.parametrize("replicas", ["sqlite", "postgresql"], indirect=True)
def test_a_message_is_not_deleted_beside_an_admission_that_relies_on_it(replicas: Replicas) -> None:
    def ask(name: str) -> QuotaRequest:
        return QuotaRequest(replicas.user, QUOTAS[:1], name, 16, replicas.at_us, tells_owner=True)

    def admit(connection: Any) -> threading.Thread:
        limits.hit(connection, [HitRequest(replicas.user, LIMITS, 16, lambda: replicas.at_us, quota=ask("req_2"))])
        deciding = threading.Thread(target=asyncio.run, args=(requests.decide(replicas.stores[1]),))
        deciding.start()
        # Long enough to decide, if it did not wait for the end of this transaction.
        time.sleep(1)
        return deciding

    async def fail() -> None:
        await replicas.stores[0].hit(replicas.user, LIMITS, 16, quota=ask("req_1"))
        row = UsageRow("req_1", replicas.user, "key", "/v2/classify", "POST", 400, 5.0, replicas.at_us, 16)
        await replicas.stores[0].record(row._replace(takes_quota=True))

    requests = Requests(replicas)
    asyncio.run(fail())
    assert len(requests.messages()) == 1
    replicas.database.change(admit).join()
    assert len(requests.messages()) == 1
    asyncio.run(replicas.close())


@pytest.mark.parametrize("replicas", ["sqlite", "postgresql"], indirect=True)
def test_two_workers_never_hold_the_same_message(replicas: Replicas) -> None:
    async def run() -> None:
        requests = Requests(replicas)
        for _ in range(QUOTA):
            await requests.request(1, 1)
        await requests.decide(replicas.stores[0])
        claim = partial(quota_messages.claim, clock_us=lambda: replicas.at_us)
        claimed = await asyncio.gather(*(store.change(claim, changes_keys=False) for store in replicas.stores * 4))
        ids = [message.id for messages in claimed for message in messages]
        assert len(ids) == len(set(ids)) == 3
        replicas.at_us += quota_messages.LEASE_US
        again: list[Message] = await replicas.stores[1].change(claim, changes_keys=False)
        assert [(message.id in ids, message.tries) for message in again] == [(True, 1)] * 3
        await replicas.close()

    asyncio.run(run())
