"""What keeps the tests from racing the clock: waits, ports, and the event loop with a clock of its own."""

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from testing.clock import Clock
from testing.ports import free_port
from testing.servers import PROJECT
from testing.waiting import avoid_the_months_end, eventually, wait_until


def test_what_is_so_in_the_end_is_returned_and_what_never_is_is_told() -> None:
    looks = iter([0, 0, 7])
    assert wait_until(lambda: next(looks), "the third look") == 7
    with pytest.raises(AssertionError, match="waited 0 s in vain for: better times"):
        wait_until(lambda: False, "better times", patience_s=0)
    with pytest.raises(AssertionError, match="in vain for: better times"):
        asyncio.run(eventually(lambda: False, lambda: "better times", patience_s=0))


@pytest.mark.parametrize(("before_the_end_s", "waits"), [(601, []), (600, [601.0]), (1, [2.0])])
def test_a_test_of_quotas_does_not_begin_just_before_the_month_ends(
    before_the_end_s: float, waits: list[float]
) -> None:
    waited: list[float] = []
    end_s = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    avoid_the_months_end(600, lambda: end_s - before_the_end_s, waited.append)
    assert waited == waits


def test_two_processes_never_get_the_same_port() -> None:
    ours = {free_port() for _ in range(1000)}
    program = "from testing.ports import free_port; print(*(free_port() for _ in range(1000)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ours.isdisjoint(map(int, done.stdout.split()))


def test_a_thread_that_is_late_ends_no_long_timer_and_the_clock_does() -> None:
    clock = Clock()

    async def never() -> None:
        clock.advance(4)
        await asyncio.Event().wait()

    async def act() -> None:
        await asyncio.wait_for(asyncio.to_thread(time.sleep, 4), 3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(never(), 3)
        # Short ones pass by themselves.
        await asyncio.sleep(0.1)

    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        runner.run(act())
