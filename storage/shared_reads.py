"""One read for all who ask the same thing at the same time."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedReads(Generic[T]):
    """Reads that are under way, by name. Who asks for the same meanwhile waits for the same result.

    Args:
        seconds: a read that began longer ago is too old for who asks now: that one reads again.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._under_way: dict[str, tuple[float, asyncio.Task[T]]] = {}

    def join(self, name: str) -> asyncio.Future[T] | None:
        """The result of the read of that name; None where none is under way that is young enough."""
        began_s, task = self._under_way.get(name, (float("-inf"), None))
        if task is None or time.monotonic() - began_s >= self._seconds:
            return None
        return asyncio.shield(task)

    def begin(self, name: str, read: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Begin a read that others may join; it goes on for them where the first who asked goes away."""
        task = asyncio.create_task(read)
        entry = self._under_way[name] = (time.monotonic(), task)

        def end(done: asyncio.Task[T]) -> None:
            if self._under_way.get(name) is entry:
                del self._under_way[name]
            if not done.cancelled():
                # Marks an error as seen, where all who asked have gone away.
                done.exception()

        task.add_done_callback(end)
        return asyncio.shield(task)
