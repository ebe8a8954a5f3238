"""Tells when a worker was told to end, and shortens the time limits of the requests under way then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Draining:
    """Gives every request under way a shorter time limit when the worker is told to end.

    Args:
        within_s: the shorter limit, seconds from that moment.
    """

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self._ends_at: float | None = None
        self._begun = asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()

    @property
    def has_begun(self) -> bool:
        """Whether the worker was told to end."""
        return self._ends_at is not None

    def begin(self) -> None:
        """Shorten the time limits of all requests under way."""
        self._ends_at = asyncio.get_running_loop().time() + self.within_s
        self._begun.set()
        for limit in self._limits:
            self.set(limit, limit.when() or self._ends_at)

    async def wait(self) -> None:
        """Return once the worker was told to end."""
        await self._begun.wait()

    def set(self, limit: asyncio.Timeout, at: float) -> None:
        """Set the time limit of a request, as a time of the event loop; shorter if the worker was told to end."""
        # A limit that has expired, or whose request is over, can't be changed any more.
        if limit in self._limits and not limit.expired():
            limit.reschedule(at if self._ends_at is None else min(at, self._ends_at))

    @asynccontextmanager
    async def limit(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """Limit a block of code as `asyncio.timeout` does, and shorter once the worker is told to end."""
        async with asyncio.timeout(min(seconds, self.within_s) if self.has_begun else seconds) as limit:
            self._limits.add(limit)
            try:
                yield limit
            finally:
                self._limits.discard(limit)
