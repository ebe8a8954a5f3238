"""Returns the memory that large requests needed to the operating system, soon after they are over."""

import asyncio
import ctypes
from collections.abc import Callable

# A smaller body leaves too little behind for the milliseconds that the return takes.
LARGE_BYTES = 500_000
# What is freed by other requests in this time is returned along with it.
AFTER_S = 0.2


class FreedMemory:
    """Has the allocator of this process return free memory to the system: it would keep 100 MB of large uploads.

    Only glibc's allocator has a function for that (`malloc_trim`); with others nothing happens.
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
