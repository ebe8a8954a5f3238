"""Shares a limited amount fairly among users, for example places in a queue or bytes of memory.

A user may hold at most `MULTIPLE_OF_FREE` times the amount that is still free. So there is always some left for a new
user, whatever one user takes.
Source of the rule: Choudhury, Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.
"""

import math
from collections import defaultdict

MULTIPLE_OF_FREE = 3


def total_for(most: int) -> int:
    """Return the total amount that lets a user who is alone hold `most` of it."""
    return most + math.ceil(most / MULTIPLE_OF_FREE)


class FairShares:
    """Counts how much each user holds, and tells whether a user may take more.

    Attributes:
        used: the amount that all users hold together.
    """

    def __init__(self) -> None:
        self.used = 0
        self._held: dict[str, int] = defaultdict(int)

    def can_take(self, user: str, amount: int, total: int) -> bool:
        """Return whether the user may take this amount more, out of this total."""
        free = total - self.used - amount
        held = self._held.get(user, 0)
        if free < 0:
            return False
        # By the rule alone nobody could take the last unit. It goes to a user who holds nothing.
        return held + amount <= MULTIPLE_OF_FREE * free or (held == 0 and amount == 1)

    def take(self, user: str, amount: int) -> None:
        """Add this amount to what the user holds; the caller has asked `can_take` before."""
        self.used += amount
        self._held[user] += amount

    def give_back(self, user: str, amount: int) -> None:
        """Subtract this amount from what the user holds."""
        self.used -= amount
        self._held[user] -= amount
        if not self._held[user]:
            del self._held[user]
