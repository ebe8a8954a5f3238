"""Gives memory that large requests took back to the system, soon after they are over."""

import asyncio
import ctypes
from collections.abc import Callable

# What a body of this size and more leaves behind is worth a look.
LARGE_BYTES = 500_000
# Others that come meanwhile leave theirs for the same look.
AFTER_S = 0.2


class FreedMemory:
    """Memory that is free in this process, which its allocator would keep for later: up to 100 MB after large uploads.

    Only glibc's allocator is known to keep it and can be asked for it; with others nothing happens.
    """

    def __init__(self) -> None:
        self._trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._is_due = False

    def note(self, body_bytes: int) -> None:
        """Note that a request with a body of that size is over; called on the event loop."""
        if body_bytes >= LARGE_BYTES and self._trim is not None and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(AFTER_S, self._give_back)

    def _give_back(self) -> None:
        self._is_due = False
        assert self._trim is not None, "it was looked for before this was due"
        # It takes some milliseconds, in which this thread would answer nobody.
        asyncio.get_running_loop().run_in_executor(None, self._trim, 0)
