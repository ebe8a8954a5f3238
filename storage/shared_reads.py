"""Lets concurrent callers who ask for the same thing share one read."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedReads(Generic[T]):
    """The reads in progress, by key. A caller who asks for the same key meanwhile waits for the same result.

    Args:
        max_age_s: a read that began longer ago is too old for a new caller, who must begin another, seconds.
    """

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._in_progress: dict[str, tuple[float, asyncio.Task[T]]] = {}

    def join(self, key: str) -> asyncio.Future[T] | None:
        """Return the future of the read of that key; None if none is in progress, or it is too old."""
        entry = self._in_progress.get(key)
        if entry is None:
            return None
        began_s, task = entry
        if time.monotonic() - began_s >= self._max_age_s:
            return None
        return asyncio.shield(task)

    def begin(self, key: str, read: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Begin a read that other callers may join. It continues for them if the first caller is cancelled."""
        task = asyncio.create_task(read)
        entry = self._in_progress[key] = (time.monotonic(), task)

        def end(done: asyncio.Task[T]) -> None:
            # A newer read may have replaced this one.
            if self._in_progress.get(key) is entry:
                del self._in_progress[key]
            if not done.cancelled():
                # Marks an error as retrieved, for the case that all callers were cancelled.
                done.exception()

        task.add_done_callback(end)
        return asyncio.shield(task)
