"""Queues work of many users, first of those for whom nothing is being done."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class TurnQueue(Generic[T]):
    """A queue that returns one item of each user in turn (round-robin), first of users who have no work under way.

    So a user who comes now does not wait for one more turn of those who have been served all the time. Items of one
    user keep their order.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, int] = {}
        # The items of users who have no work under way, and of the others. Dictionaries keep the order of insertion.
        self._unserved: dict[str, deque[T]] = {}
        self._served: dict[str, deque[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._unserved or self._served)

    def put(self, user: str, item: T) -> None:
        """Add an item of this user."""
        waiting = self._served if user in self._under_way else self._unserved
        waiting.setdefault(user, deque()).append(item)

    def peek(self) -> T:
        """Return the next item without removing it.

        Raises:
            StopIteration: the queue is empty.
        """
        waiting = self._unserved or self._served
        return waiting[next(iter(waiting))][0]

    def get(self) -> T:
        """Remove and return the next item.

        Raises:
            StopIteration: the queue is empty.
        """
        waiting = self._unserved or self._served
        user = next(iter(waiting))
        items = waiting.pop(user)
        item = items.popleft()
        if items:
            # Behind all others.
            waiting[user] = items
        return item

    def begin(self, user: str) -> None:
        """Note that some work of this user is under way."""
        self._under_way[user] = self._under_way.get(user, 0) + 1
        if items := self._unserved.pop(user, None):
            self._served[user] = items

    def end(self, user: str) -> None:
        """Note that some work of this user, which had begun, is done."""
        self._under_way[user] -= 1
        if not self._under_way[user]:
            del self._under_way[user]
            if items := self._served.pop(user, None):
                self._unserved[user] = items
