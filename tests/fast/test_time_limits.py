"""The time limit of a request: what its code sees once its time is up, and what does not count as that."""

import asyncio

import pytest

from api.draining import Draining
from testing.clock import Clock

pytestmark = pytest.mark.anyio
FOREVER_S = 3600


async def test_the_block_ends_when_its_time_is_up() -> None:
    with pytest.raises(TimeoutError), Draining(FOREVER_S).limit(0) as limit:
        await asyncio.sleep(FOREVER_S)
    assert limit.has_expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "the task can go on"


async def test_other_blocks_go_on() -> None:
    draining = Draining(FOREVER_S)

    async def wait() -> None:
        with draining.limit(FOREVER_S):
            await asyncio.sleep(FOREVER_S)

    patient = asyncio.create_task(wait())
    with pytest.raises(TimeoutError), draining.limit(0.01):
        await asyncio.sleep(FOREVER_S)
    assert not patient.done()
    patient.cancel()


@pytest.mark.parametrize("is_out_of_time", [False, True], ids=["in time", "out of time"])
async def test_a_cancelled_block_is_no_timeout(is_out_of_time: bool) -> None:
    draining = Draining(FOREVER_S)

    async def work() -> None:
        with draining.limit(FOREVER_S) as limit:
            if is_out_of_time:
                draining.set(limit, 0)
            await asyncio.sleep(FOREVER_S)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_stays_one() -> None:
    with pytest.raises(KeyError), Draining(FOREVER_S).limit(0):
        raise KeyError


async def test_the_end_can_be_put_off_and_brought_forward() -> None:
    draining = Draining(FOREVER_S)
    steps = []

    async def work() -> None:
        with draining.limit(0) as limit:
            draining.set(limit, asyncio.get_running_loop().time() + FOREVER_S)
            await asyncio.sleep(0.01)
            steps.append("put off")
            draining.set(limit, asyncio.get_running_loop().time())
            await asyncio.sleep(FOREVER_S)

    with pytest.raises(TimeoutError):
        await work()
    assert steps == ["put off"]


async def test_a_function_is_called_later_but_not_after_the_block(clock: Clock) -> None:
    draining, calls = Draining(FOREVER_S), list[str]()
    with draining.limit(FOREVER_S) as limit:
        limit.call_later(60, lambda: calls.append("in time"))
        clock.advance(seconds=61)
        await asyncio.sleep(0.01)
    with draining.limit(FOREVER_S) as limit:
        limit.call_later(60, lambda: calls.append("too late"))
    clock.advance(seconds=61)
    await asyncio.sleep(0.01)
    assert calls == ["in time"]
