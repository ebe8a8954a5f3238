"""Shares what there is too little of among users: places to wait in, and turns to be served.

Work is done by turns: the next of one user, then the next of another, so that who sends many requests at once delays
the others by one of them. Room is given by what is left: a user may hold no more than `OF_WHAT_IS_FREE` times of it, so
that a newcomer always finds some, whatever one user does.
Source of the rule: Choudhury, Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.
"""

import asyncio
import math
from collections import defaultdict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

OF_WHAT_IS_FREE = 3


def whole_of(most: int) -> int:
    """How much there has to be in all, so that a user who is alone can hold `most` of it."""
    return most + math.ceil(most / OF_WHAT_IS_FREE)


class FairQueue(Generic[T]):
    """A queue that gives out one item of each user by turns; of one user, in their order."""

    def __init__(self) -> None:
        self._of_users: dict[str, deque[T]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, user: str, item: T) -> None:
        """Add an item of that user."""
        self._of_users.setdefault(user, deque()).append(item)
        self._length += 1

    def peek(self) -> T:
        """Return the item whose turn is next, and leave it."""
        return self._of_users[next(iter(self._of_users))][0]

    def get(self) -> T:
        """Take the item whose turn is next."""
        user = next(iter(self._of_users))
        items = self._of_users.pop(user)
        item = items.popleft()
        self._length -= 1
        if items:
            # Behind all others: a dictionary keeps the order in which its keys came.
            self._of_users[user] = items
        return item


class FairSlots:
    """So many that work at a time; who waits for a slot gets it by turns.

    Args:
        slots: how many.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    async def acquire(self, user: str) -> None:
        """Return when a slot is the user's; it must then be released."""
        if self._free:
            self._free -= 1
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(user, given)
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give the slot to whose turn is next."""
        while self._waiting:
            given = self._waiting.get()
            # Who was cancelled does not wait any more.
            if not given.done():
                given.set_result(None)
                return
        self._free += 1


class Room:
    """How much of something each user holds: images that wait, bytes that arrive.

    Attributes:
        used: how much is held by all together.
    """

    def __init__(self) -> None:
        self.used = 0
        self._held: dict[str, int] = defaultdict(int)

    def has(self, user: str, amount: int, total: int) -> bool:
        """Tell whether the user may take so much more, where there is so much in all."""
        left, held = total - self.used - amount, self._held.get(user, 0)
        # The last place of all is for who has none.
        return left >= 0 and (held + amount <= OF_WHAT_IS_FREE * left or (held == 0 and amount == 1))

    def take(self, user: str, amount: int) -> None:
        """Note that the user holds so much more."""
        self.used += amount
        self._held[user] += amount

    def give_back(self, user: str, amount: int) -> None:
        """Note that the user holds so much less."""
        self.used -= amount
        self._held[user] -= amount
        if not self._held[user]:
            del self._held[user]
