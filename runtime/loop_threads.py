"""Runs functions in threads for an event loop, and hands each result to the loop in one step.

`run_in_executor` makes two futures for each call, and copies the result from one to the other in Python: 40 µs.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

T = TypeVar("T")
Work = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class LoopThreads:
    """Threads that start with the first work. They end with the process.

    Args:
        threads: how many.
        name: the beginning of their names.
        begin: what each thread does first.
    """

    def __init__(self, threads: int, name: str, begin: Callable[[], object] = lambda: None) -> None:
        self._names = [f"{name}_{number}" for number in range(threads)]
        self._begin = begin
        self._queue: queue.SimpleQueue[Work] = queue.SimpleQueue()

    def run(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Return a future of what the work returns, or raises, in a thread. Call this on the event loop.

        If the future is cancelled before a thread has begun the work, no thread does.
        """
        while self._names:
            threading.Thread(target=self._keep_working, name=self._names.pop(), daemon=True).start()
        future = asyncio.get_running_loop().create_future()
        self._queue.put((future, work, arguments))
        return cast(asyncio.Future[T], future)

    def _keep_working(self) -> None:
        self._begin()
        while True:
            # A function of its own: while a thread waits, it must not keep the last work and its result in memory.
            _do(*self._queue.get())


def _do(future: asyncio.Future[Any], work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    result, error = None, None
    try:
        result = work(*arguments)
    except BaseException as raised:
        error = raised
    # RuntimeError: the loop is closed, so nobody waits any more.
    with suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(_resolve, future, result, error)
    # The error's traceback refers to this frame.
    del error


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
