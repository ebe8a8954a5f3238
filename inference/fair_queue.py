"""Serves users in turns: a queue, slots and threads that take one item of each user before anyone's second.

So a user who sends many requests at once delays each other user by one request only.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Generic, TypeVar

from runtime.loop_threads import LoopThreads
from runtime.processes import lower_priority

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue that returns one item of each user in turn (round-robin). Items of one user keep their order."""

    def __init__(self) -> None:
        self._items_by_user: dict[str, deque[T]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, user: str, item: T) -> None:
        """Add an item of this user."""
        self.put_all(user, (item,))

    def put_all(self, user: str, items: Collection[T]) -> None:
        """Add items of this user, in that order."""
        if items:
            self._items_by_user.setdefault(user, deque()).extend(items)
            self._length += len(items)

    def peek(self) -> T:
        """Return the next item without removing it.

        Raises:
            StopIteration: the queue is empty.
        """
        return next(iter(self._items_by_user.values()))[0]

    def get(self) -> T:
        """Remove and return the next item.

        Raises:
            StopIteration: the queue is empty.
        """
        user = next(iter(self._items_by_user))
        items = self._items_by_user.pop(user)
        item = items.popleft()
        self._length -= 1
        if items:
            # A dictionary keeps the order of insertion, so this puts the user behind all others.
            self._items_by_user[user] = items
        return item

    def take_all(self, user: str) -> deque[T]:
        """Remove and return all items of this user."""
        items = self._items_by_user.pop(user, deque[T]())
        self._length -= len(items)
        return items


class FairSlots:
    """A semaphore that users acquire in turns.

    Args:
        slots: how many may be held at the same time.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    async def acquire(self, user: str) -> None:
        """Wait until the user gets a slot. The caller must call `release` afterwards."""
        if self._free:
            self._free -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(user, granted)
        try:
            await granted
        except asyncio.CancelledError:
            # The slot was granted just before the cancellation.
            if granted.done() and not granted.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give the slot to the next waiting user, or make it free."""
        while self._waiting:
            granted = self._waiting.get()
            # A cancelled task does not wait any more.
            if not granted.done():
                granted.set_result(None)
                return
        self._free += 1


class FairThreads:
    """Threads of one priority that users use in turns.

    Args:
        name: the beginning of their names.
        threads: how many.
        slots: how many pieces of work they are given at the same time.
        nice: how much lower their priority is than that of the process.
    """

    def __init__(self, name: str, threads: int, slots: int, nice: int) -> None:
        self._threads = LoopThreads(threads, name, partial(lower_priority, nice))
        self._slots = FairSlots(slots)

    async def run(self, user: str, work: Callable[..., T], *arguments: object) -> T:
        """Run the work in a thread when it is the user's turn, and return its result."""
        await self._slots.acquire(user)
        try:
            return await self._threads.run(work, *arguments)
        finally:
            self._slots.release()
