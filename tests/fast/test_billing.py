"""The bill, whatever happens between a request and its answer; and twins of the service that are wrong, each caught.

Here a worker dies by an exception that nothing catches, before or after its usage row is committed. Real workers are
killed in `tests/test_billing.py`.
"""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import AsyncMock

import pytest
from sqlalchemy import delete, func, select

from storage import idempotency, reservations, rollup, usage
from storage.idempotency import LEASE_S, Settlement
from storage.models import quota_reservations
from storage.reservations import KEPT_S
from storage.usage import UsageRow
from testing.asgi_exchange import Exchange
from testing.billing import Attempt, Left, check_billing
from testing.clock import Clock
from testing.colour_model import image_of
from testing.history import LoggedRow
from testing.in_process import InProcessGateway, IssuedKey
from testing.orders import Order, any_order
from testing.photographs import as_base64
from tests.fast.conftest import Start
from tests.fast.test_quotas import remaining, with_quota

pytestmark = pytest.mark.anyio

QUOTA, CALLERS, SLOW = 80, 6, 3
IMAGE = as_base64(image_of("red"))
ONE, TWO = [IMAGE], [IMAGE, IMAGE]


class Killed(BaseException):
    """The end of a worker."""


@dataclass
class Callers:
    """The callers of one user, each with a key of its own, and what became of what they sent.

    Attributes:
        start: starts a worker.
        workers: those that live.
        keys: the callers' keys.
        chance: chooses what they send, and to whom.
        attempts: what was sent and received.
    """

    start: Start
    workers: list[InProcessGateway]
    keys: list[IssuedKey]
    chance: random.Random
    attempts: list[Attempt] = field(default_factory=list)

    async def send(self, order: Order, number: int, worker: InProcessGateway | None = None) -> Attempt:
        """Send an order as one of the callers."""
        key, worker = self.keys[number % CALLERS], worker or self.chance.choice(self.workers)
        try:
            answer = await worker.request("POST", order.path, key, json=order.body, headers=order.headers)
        except Killed:
            self.attempts.append(order.lost(key.user_id, key.key_id))
        else:
            got = (answer.status_code, answer.headers, answer.content)
            self.attempts.append(order.answered(key.user_id, key.key_id, *got))
        return self.attempts[-1]

    async def send_until_refused(self, number: int) -> None:
        """Send one image after the other until the quota is used up."""
        for _ in range(2 * QUOTA):
            if (await self.send(Order(ONE), number)).is_beyond_quota:
                return

    def begin(self, order: Order) -> Exchange:
        """Begin a request whose body does not come yet."""
        return self.workers[0].exchange(order.path, self.keys[0], content_type="application/json")

    async def finish(self, exchange: Exchange, order: Order) -> Attempt:
        """Send the body, and note what is answered."""
        exchange.send(json.dumps(order.body).encode(), more=False)
        answer, key = await exchange.answer(), self.keys[0]
        got = (answer.status_code, answer.headers, answer.content)
        self.attempts.append(order.answered(key.user_id, key.key_id, *got))
        return self.attempts[-1]

    async def mistakes(self, is_settled: bool = True, refused: Sequence[int] = ()) -> list[str]:
        """What is wrong now, while no request is under way."""
        left = Left(await remaining(self.workers[0], self.keys[0]), is_settled, tuple(refused))
        columns = ("request_id", "user_id", "status", "images", "billable", "key_id")
        rows = [LoggedRow(*(row[name] for name in columns)) for row in self.workers[0].usage_rows()]
        return check_billing(self.attempts, rows, QUOTA, {self.keys[0].user_id: left})


@pytest.fixture(params=[0])
async def callers(start: Start, request: pytest.FixtureRequest) -> Callers:
    workers = [await start(), await start()]
    keys = [with_quota(workers[0], f"{QUOTA}/month")]
    keys += [workers[0].new_key() for _ in range(CALLERS - 1)]
    return Callers(start, workers, keys, random.Random(request.param))


async def send_everything_while_workers_die(
    callers: Callers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> list[Attempt]:
    """Send orders of all kinds at once, and again those with a key; return the results of the second time."""
    dies_before, dies_after = await callers.start(), await callers.start()

    async def die(_row: UsageRow) -> None:
        raise Killed

    async def record_and_die(row: UsageRow) -> None:
        await callers.workers[0].store.record(row)
        raise Killed

    monkeypatch.setattr(dies_before.store, "record", die)
    monkeypatch.setattr(dies_after.store, "record", record_and_die)
    keyed = [any_order(callers.chance, IMAGE, f"order-{number}") for number in range(2 * CALLERS)]
    doomed = [(Order(TWO, "before"), dies_before), (Order(TWO, "after"), dies_after)]
    doomed += [(Order(TWO), dies_before), (Order(TWO), dies_after)]
    unkeyed = [any_order(callers.chance, IMAGE, None) for _ in range(CALLERS)]
    orders = [*((order, None) for order in (*keyed, *unkeyed)), *doomed]
    await asyncio.gather(*(callers.send(order, number, worker) for number, (order, worker) in enumerate(orders)))
    clock.advance(LEASE_S)
    again = [(order, number) for number, (order, _) in enumerate(orders) if order.idempotency_key]
    return await asyncio.gather(*(callers.send(*one) for one in again))


async def take_a_key_over(callers: Callers, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[Attempt]:
    """Stop a worker in the midst of a request, until another one holds the idempotency key; then let it go on."""
    stopped, order = await callers.start(), Order(ONE, "taken-over")
    with stopped.runner.engine.held():
        late = asyncio.create_task(callers.send(order, 0, stopped))
        await stopped.runner.asked(1)
        monkeypatch.setattr(stopped.store, "renew_claim", AsyncMock())
        clock.advance(LEASE_S)
        first = await callers.send(order, 0)
    return [first, await late]


async def use_the_quota_up_beside_slow_callers(callers: Callers) -> list[Attempt]:
    """Send until all is used. Some requests begin before that and end after it; the last of them took too long."""
    slow = [callers.begin(Order(ONE)) for _ in range(SLOW)]
    for exchange in slow:
        await exchange.app_waits()
    # As if minutes had gone by.
    late = select(quota_reservations.c.request_id).order_by(quota_reservations.c.request_id.desc()).limit(1)
    forget = delete(quota_reservations).where(quota_reservations.c.request_id.in_(late))
    callers.workers[0].store.database.change(lambda connection: connection.execute(forget))
    await asyncio.gather(*(callers.send_until_refused(number) for number in range(CALLERS)))
    return [await callers.finish(exchange, Order(ONE)) for exchange in slow]


async def play(callers: Callers, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have everything happen that may happen to a request; return what the checker found."""
    again = await send_everything_while_workers_die(callers, clock, monkeypatch)
    assert sum(attempt.status is None for attempt in callers.attempts) == 4
    assert any(0 < attempt.answered < attempt.images for attempt in callers.attempts)
    found = await callers.mistakes(is_settled=False)
    taken_over = [] if found else await take_a_key_over(callers, clock, monkeypatch)
    clock.advance(KEPT_S, microseconds=1)
    found += await callers.mistakes()
    slow = await use_the_quota_up_beside_slow_callers(callers)
    found += await callers.mistakes()
    await callers.send_until_refused(0)
    if not found:
        assert {attempt.is_replayed for attempt in again} == {True, False}
        assert [attempt.status for attempt in taken_over] == [200, 409]
        assert sorted(attempt.status or 0 for attempt in slow) == [200] * (SLOW - 1) + [503]
    return found + await callers.mistakes(refused=[1])


@pytest.mark.parametrize("callers", range(6), indirect=True)
async def test_every_answered_image_is_billed_once_and_the_quota_is_exact(
    callers: Callers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await play(callers, clock, monkeypatch) == []
    assert sum(row["billable"] for row in callers.workers[0].usage_rows()) == QUOTA


FIRST_RESERVED = select(func.min(quota_reservations.c.request_id))

Twin = Callable[[pytest.MonkeyPatch], None]
record, settle, keep, count = usage.record, reservations.settle, idempotency.settle, rollup.add


def bills_what_it_admits(patch: pytest.MonkeyPatch) -> None:
    """An image that could not be read is billed as well."""
    patch.setattr(usage, "record", lambda to, rows: record(to, [row._replace(billable=row.images) for row in rows]))


def bills_a_repeated_answer(patch: pytest.MonkeyPatch) -> None:
    def billed(row: UsageRow) -> UsageRow:
        return row._replace(images=1, billable=1) if row.method == "POST" and row.status == 200 else row

    patch.setattr(usage, "record", lambda to, rows: record(to, [*map(billed, rows)]))


def bills_twice(patch: pytest.MonkeyPatch) -> None:
    """Each row is written again under another id."""

    def record_twice(connection: Any, rows: Sequence[UsageRow]) -> Any:
        withheld = record(connection, rows)
        again = [row._replace(request_id=f"{row.request_id}_again", settlement=None) for row in rows if row.billable]
        record(connection, [row._replace(takes_quota=False) for row in again])
        return withheld

    patch.setattr(usage, "record", record_twice)


def settles_twice(patch: pytest.MonkeyPatch) -> None:
    """Each answer gives back what it had reserved, and as much again, which another request had reserved."""

    def settle_twice(connection: Any, request_id: str) -> bool:
        settle(connection, request_id)
        [another] = connection.execute(FIRST_RESERVED, {}).fetchone()
        settle(connection, another)
        return True

    patch.setattr(reservations, "settle", settle_twice)


def counts_twice(patch: pytest.MonkeyPatch) -> None:
    def add_twice(connection: Any, rows: Any) -> None:
        rows = [*rows]
        count(connection, rows)
        count(connection, rows)

    patch.setattr(rollup, "add", add_twice)


def gives_nothing_back(patch: pytest.MonkeyPatch) -> None:
    """What was reserved stays so, beside what was answered."""
    patch.setattr(reservations, "settle", lambda _connection, _request_id: True)


def never_forgets_the_dead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reservations, "KEPT_S", 10**6)


def answers_what_was_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reservations, "settle", lambda *request: settle(*request) or True)


def reserves_nothing(patch: pytest.MonkeyPatch) -> None:
    """Only what was answered counts, and not what is under way."""
    patch.setattr(reservations.UserQuotas, "reserve", lambda *_: None)
    answers_what_was_given_back(patch)


def keeps_no_answer(patch: pytest.MonkeyPatch) -> None:
    """Each retry is computed and billed again."""

    def release(connection: Any, settlements: Sequence[Settlement]) -> Sequence[bool]:
        keep(connection, [one._replace(answer=None) for one in settlements])
        return [True] * len(settlements)

    patch.setattr(idempotency, "settle", release)


def answers_whoever_lost_its_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(idempotency, "settle", lambda to, settlements: [True for _ in keep(to, settlements)])


@pytest.mark.parametrize(
    ("twin", "said"),
    [
        (bills_what_it_admits, "images were answered, "),
        (bills_a_repeated_answer, "of a repeated answer are billed"),
        (bills_twice, "billed without an answer"),
        (settles_twice, f"are billed; the quota is {QUOTA}"),
        (counts_twice, "are left of the quota"),
        (gives_nothing_back, "are left of the quota"),
        (never_forgets_the_dead, "1 images were refused"),
        (answers_what_was_given_back, f"are billed; the quota is {QUOTA}"),
        (reserves_nothing, f"are billed; the quota is {QUOTA}"),
        (keeps_no_answer, "billed without an answer"),
        (keeps_no_answer, "was answered by 2 requests"),
        (answers_whoever_lost_its_key, "was answered by 2 requests"),
    ],
)
async def test_a_twin_that_is_wrong_is_caught(
    callers: Callers, clock: Clock, monkeypatch: pytest.MonkeyPatch, twin: Twin, said: str
) -> None:
    twin(monkeypatch)
    found = await play(callers, clock, monkeypatch)
    assert any(said in told for told in found), found
