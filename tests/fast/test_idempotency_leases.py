"""`Idempotency-Key`: one request at a time holds a key, for as long as it lives and no longer."""

import asyncio
from unittest.mock import AsyncMock

import pytest

from storage.idempotency import KEPT_S, LEASE_S
from testing.clock import Clock
from testing.in_process import InProcessGateway, IssuedKey
from testing.waiting import eventually
from tests.answers import assert_problem
from tests.fast.conftest import Start
from tests.fast.idempotent import BLUE, OTHER, billed, is_replayed, post

pytestmark = pytest.mark.anyio


def lease_ends_us(gateway: InProcessGateway) -> int:
    """When the only lease ends, Unix microseconds."""
    [lease] = gateway.idempotency_keys()
    return int(lease["expires_us"])


async def lease_ends_after(gateway: InProcessGateway, at_us: int) -> None:
    """Return once the only lease was renewed beyond that time, Unix microseconds."""
    await eventually(lambda: lease_ends_us(gateway) > at_us, "the lease is renewed")


async def test_of_twenty_at_once_one_is_computed(start: Start) -> None:
    """Two workers with one database."""
    workers = [await start(), await start()]
    key = workers[0].new_key()
    sent = [post(workers[number % 2], key, "order-1") for number in range(20)]
    answers = await asyncio.gather(*sent)
    fresh = [answer for answer in answers if answer.status_code == 200 and not is_replayed(answer)]
    assert len(fresh) == 1
    for answer in answers:
        if answer.status_code == 200:
            assert answer.content == fresh[0].content
        else:
            assert_problem(answer, 409)
            assert answer.headers["retry-after"] == "1"
            assert "ratelimit" in answer.headers
    assert workers[0].hits() == 1
    assert sorted(images for _, images in billed(workers[0])) == [0] * 19 + [1]


async def test_a_request_under_way_keeps_its_key_however_long_it_takes(start: Start, clock: Clock) -> None:
    gateway, neighbour = await start(), await start()
    key = gateway.new_key()
    with gateway.runner.engine.held():
        first = asyncio.create_task(post(gateway, key, "order-1"))
        await gateway.runner.asked(1)
        for _ in range(5):
            before_us = lease_ends_us(gateway)
            clock.advance(LEASE_S // 2)
            await lease_ends_after(gateway, before_us)
            assert_problem(await post(neighbour, key, "order-1"), 409)
    assert (await first).status_code == 200
    assert is_replayed(await post(neighbour, key, "order-1"))


async def test_a_caller_who_goes_away_frees_the_key(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    with gateway.runner.engine.held():
        exchange = gateway.exchange("/v2/classify", key, content_type="image/png", idempotency_key="order-1")
        exchange.send(BLUE, more=False)
        await gateway.runner.asked(1)
        exchange.disconnect()
        # It is noticed a moment later.
        clock.advance(1)
        await exchange.answer()
    answer = await post(gateway, key, "order-1")
    assert (answer.status_code, is_replayed(answer)) == (200, False)


async def test_the_key_of_a_request_that_died_is_free_again_soon(
    gateway: InProcessGateway, key: IssuedKey, clock: Clock
) -> None:
    # What is left of a request whose worker was killed.
    await gateway.store.claim(key.user_id, "/v2/classify", "order-1", "req_dead")
    clock.advance(LEASE_S, microseconds=-1)
    assert_problem(await post(gateway, key, "order-1"), 409)
    clock.advance(microseconds=1)
    answer = await post(gateway, key, "order-1")
    assert (answer.status_code, is_replayed(answer)) == (200, False)
    assert is_replayed(await post(gateway, key, "order-1"))


async def test_two_that_held_one_key_are_not_both_answered(
    start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker stood still for longer than its lease, so another took the key over. Only one is given an answer."""
    slow, neighbour = await start(), await start()
    key = slow.new_key()
    with slow.runner.engine.held():
        late = asyncio.create_task(post(slow, key, "order-1"))
        await slow.runner.asked(1)
        monkeypatch.setattr(slow.store, "renew_claim", AsyncMock())
        clock.advance(LEASE_S)
        first = await post(neighbour, key, "order-1")
        assert (first.status_code, is_replayed(first)) == (200, False)
    assert "predictions" not in assert_problem(await late, 409)
    assert sorted(row["status"] for row in slow.usage_rows()) == [200, 409]
    assert (await post(slow, key, "order-1")).content == first.content


async def test_an_answer_is_kept_for_a_day(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    first = await post(gateway, key, "order-1")
    clock.advance(KEPT_S, microseconds=-1)
    assert (await post(gateway, key, "order-1")).json() == first.json()
    clock.advance(microseconds=1)
    later = await post(gateway, key, "order-1", **OTHER)
    assert (later.status_code, is_replayed(later)) == (200, False)


async def test_an_answer_that_is_not_logged_is_not_kept(
    gateway: InProcessGateway, key: IssuedKey, clock: Clock
) -> None:
    with gateway.without_table("usage_log"):
        assert_problem(await post(gateway, key, "order-1"), 503)
    clock.advance(LEASE_S)
    answer = await post(gateway, key, "order-1")
    assert (answer.status_code, is_replayed(answer)) == (200, False)
    assert billed(gateway) == [(200, 1)]
