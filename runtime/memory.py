"""Keeps the memory of a process low: few arenas, and freed memory goes back to the operating system."""

import asyncio
import ctypes
from collections.abc import Callable

# For a smaller body, returning the memory takes more time than it is worth.
LARGE_BYTES = 500_000
# Memory that other requests free in this time is returned together with it.
AFTER_S = 0.2
# `M_ARENA_MAX` of glibc's malloc.h, and how many arenas there may be.
_ARENA_MAX, ARENAS = -8, 2


def use_few_arenas() -> None:
    """Make threads share the allocator's arenas. By default each thread has one, and each keeps what it has freed.

    Only glibc's allocator has such an option (`mallopt`); with others nothing happens. Call this before threads start.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_ARENA_MAX, ARENAS)


class FreedMemory:
    """Makes the allocator return free memory to the system; by itself it keeps some 100 MB after large uploads.

    Only glibc's allocator has a function for this (`malloc_trim`); with others nothing happens.
    """

    def __init__(self) -> None:
        self._trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._is_due = False

    def note(self, body_bytes: int) -> None:
        """Note that a request with a body of that size has ended; call this on the event loop."""
        if body_bytes >= LARGE_BYTES and self._trim is not None and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(AFTER_S, self._give_back)

    def _give_back(self) -> None:
        self._is_due = False
        assert self._trim is not None, "it was looked for before this was due"
        # It takes some milliseconds, which would block the event loop.
        asyncio.get_running_loop().run_in_executor(None, self._trim, 0)
