"""Queues work of many users, first of those for whom nothing is being done."""

from typing import Generic, TypeVar

from inference.fair_queue import FairQueue

T = TypeVar("T")


class TurnQueue(Generic[T]):
    """A queue that returns one item of each user in turn (round-robin), first of users who have no work under way.

    So a user who comes now does not wait for one more turn of those who have been served all the time. Items of one
    user keep their order.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, int] = {}
        # The items of users who have no work under way, and of the others.
        self._unserved: FairQueue[T] = FairQueue()
        self._served: FairQueue[T] = FairQueue()

    def __bool__(self) -> bool:
        return bool(self._unserved or self._served)

    def put(self, user: str, item: T) -> None:
        """Add an item of this user."""
        (self._served if user in self._under_way else self._unserved).put(user, item)

    def peek(self) -> T:
        """Return the next item without removing it.

        Raises:
            StopIteration: the queue is empty.
        """
        return (self._unserved or self._served).peek()

    def get(self) -> T:
        """Remove and return the next item.

        Raises:
            StopIteration: the queue is empty.
        """
        return (self._unserved or self._served).get()

    def begin(self, user: str) -> None:
        """Note that some work of this user is under way."""
        self._under_way[user] = self._under_way.get(user, 0) + 1
        self._served.put_all(user, self._unserved.take_all(user))

    def end(self, user: str) -> None:
        """Note that some work of this user, which had begun, is done."""
        self._under_way[user] -= 1
        if not self._under_way[user]:
            del self._under_way[user]
            self._unserved.put_all(user, self._served.take_all(user))
