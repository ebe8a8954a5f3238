"""Waits in tests until something is so, with a patience that only a fault uses up, however slow the machine is."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

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


def _never(what: str | Callable[[], str], patience_s: float) -> AssertionError:
    return AssertionError(f"waited {patience_s:.0f} s in vain for: {what if isinstance(what, str) else what()}")
