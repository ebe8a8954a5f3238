"""Limits the time of each request, and shortens it for all under way when the worker is told to end.

One timer checks the time limits of all requests. A timer for each request, reset for its body and for its answer, would
take more time than all the other checks together.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

# How often the time limits are checked, so also how late a request may be ended.
LOOKS_EVERY_S = 0.05


class TimeLimit:
    """Ends a block of code that takes too long, as `asyncio.timeout` does: `TimeoutError` is raised from the block.

    Args:
        limits: checks this limit again and again.
        seconds: how long the block may take.

    Attributes:
        at: when the block ends, as a time of the event loop.
        has_expired: whether its time is up.
    """

    __slots__ = ("_cancelling", "_limits", "_seconds", "_task", "at", "has_expired", "later", "later_at")

    def __init__(self, limits: "Draining", seconds: float) -> None:
        self._limits = limits
        self._seconds = seconds
        self.at = self.later_at = float("inf")
        self.has_expired = False
        self.later: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a time limit is for code in a task"
        self._task, self._cancelling = task, task.cancelling()
        self._limits.add(self, self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._limits.discard(self)
        # It may refer to this limit. Such a reference cycle would keep the request in memory.
        self.later = None
        if self.has_expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def call_later(self, seconds: float, later: Callable[[], None]) -> None:
        """Call a function once, after this time, if the block still runs. It replaces a function that is waiting."""
        self.later, self.later_at = later, asyncio.get_running_loop().time() + seconds

    def look(self, now: float) -> None:
        """End the block, or call the waiting function, if that is due at this time of the event loop."""
        if now >= self.at and not self.has_expired:
            self.has_expired = True
            self._task.cancel()
        if now >= self.later_at and self.later is not None:
            later, self.later, self.later_at = self.later, None, float("inf")
            later()


class Draining:
    """Gives every request under way a shorter time limit when the worker is told to end.

    Args:
        within_s: the shorter limit, seconds from that moment.
    """

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self._ends_at: float | None = None
        self._begun = asyncio.Event()
        self._limits: set[TimeLimit] = set()
        self._is_looking = False

    @property
    def has_begun(self) -> bool:
        """Whether the worker was told to end."""
        return self._ends_at is not None

    def begin(self) -> None:
        """Shorten the time limits of all requests under way."""
        self._ends_at = asyncio.get_running_loop().time() + self.within_s
        self._begun.set()
        for limit in self._limits:
            self.set(limit, limit.at)

    async def wait(self) -> None:
        """Return once the worker was told to end."""
        await self._begun.wait()

    def limit(self, seconds: float) -> TimeLimit:
        """Return a limit for a block of code, shorter once the worker is told to end."""
        return TimeLimit(self, min(seconds, self.within_s) if self.has_begun else seconds)

    def set(self, limit: TimeLimit, at: float) -> None:
        """Set the time limit of a request, as a time of the event loop; shorter if the worker was told to end."""
        # A limit that has expired, or whose request is over, can't be changed any more.
        if limit in self._limits and not limit.has_expired:
            limit.at = at if self._ends_at is None else min(at, self._ends_at)
            limit.look(asyncio.get_running_loop().time())

    def add(self, limit: TimeLimit, seconds: float) -> None:
        """Start to check a limit."""
        loop = asyncio.get_running_loop()
        limit.at = loop.time() + seconds
        self._limits.add(limit)
        if not self._is_looking:
            self._is_looking = True
            loop.call_later(LOOKS_EVERY_S, self._look)

    def discard(self, limit: TimeLimit) -> None:
        """Stop checking a limit."""
        self._limits.discard(limit)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for limit in [*self._limits]:
            limit.look(now)
        self._is_looking = bool(self._limits)
        if self._is_looking:
            loop.call_later(LOOKS_EVERY_S, self._look)
