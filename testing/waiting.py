"""Waits in tests until something is so, with a patience that only a fault uses up, however slow the machine is."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from storage.clock import MICROSECONDS
from storage.quotas import Quota

PATIENCE_S = 60.0
LOOKS_EVERY_S = 0.02

Found = TypeVar("Found")


def wait_until(
    condition: Callable[[], Found],
    what: str | Callable[[], str],
    patience_s: float = PATIENCE_S,
    looks_every_s: float = LOOKS_EVERY_S,
) -> Found:
    """Return the first true value that the condition returns.

    Args:
        condition: looks once; a false value means: not yet.
        what: what is waited for, for the message of the error; a function is called when the patience is over.
        patience_s: gives up after this time, seconds.
        looks_every_s: the pause between two looks, seconds.

    Raises:
        AssertionError: the condition was never true; the message says what was waited for.
    """
    give_up = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise _never(what, patience_s)
        time.sleep(looks_every_s)
    return found


async def eventually(
    condition: Callable[[], Found],
    what: str | Callable[[], str],
    patience_s: float = PATIENCE_S,
    looks_every_s: float = LOOKS_EVERY_S,
) -> Found:
    """Do the same as `wait_until` while the event loop goes on."""
    give_up = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise _never(what, patience_s)
        await asyncio.sleep(looks_every_s)
    return found


def avoid_the_months_end(
    needs_s: float, clock_s: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait until the next month has begun, if this one ends in less time than a test of its quotas needs.

    Args:
        needs_s: how long the test takes at most, seconds.
        clock_s: returns the time, Unix seconds.
        sleep: waits for so many seconds.
    """
    now_s = clock_s()
    left_s = Quota(1, "month").period_at(int(now_s * MICROSECONDS)).end_s - now_s
    if left_s <= needs_s:
        # A second more: the clocks of processes may differ a little.
        sleep(left_s + 1)


def _never(what: str | Callable[[], str], patience_s: float) -> AssertionError:
    return AssertionError(f"waited {patience_s:.0f} s in vain for: {what if isinstance(what, str) else what()}")
