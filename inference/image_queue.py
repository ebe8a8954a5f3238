"""Limits how many images wait for their answer in one worker, and shares the places fairly among users."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inference.fair_shares import FairShares, total_for
from web.problem import Problem, unavailable

# The default limit: the images that the engine computes in `QUEUE_S`, and never fewer than `SHORTEST_QUEUE`.
QUEUE_S = 1.0
SHORTEST_QUEUE = 64
LONGEST_RETRY_AFTER_S = 60

_OVERLOAD = "The service is overloaded; send the request again after the time in Retry-After."
_NO_PLACES = "The service has no room for so many images; send them again shortly."


class ImageQueue:
    """Counts the images that wait for their answer, and refuses more than the limit.

    Args:
        limit: how many images of one user may wait; None for a limit that follows from the speed of the engine.
        images_per_s: returns the speed of the engine, images per second; 0 while it is unknown.
    """

    def __init__(self, limit: int | None, images_per_s: Callable[[], float]) -> None:
        self._limit = limit
        self._images_per_s = images_per_s
        self._shares = FairShares()
        self._throughput = _Throughput()

    @property
    def waiting(self) -> int:
        """The number of images that wait for their answer."""
        return self._shares.used

    @property
    def limit(self) -> int:
        """How many images of one user may wait before more are refused. Other users can use a third more."""
        if self._limit is not None:
            return self._limit
        return max(SHORTEST_QUEUE, int(self._images_per_s() * QUEUE_S))

    def overload(self, user: str) -> Problem | None:
        """Return the 503 for a user from whom not even one image can be taken now; None if one can."""
        if self._has_places(user, 1):
            return None
        return unavailable(_OVERLOAD, self._retry_after_s(), kind="overload")

    @contextmanager
    def places(self, user: str, images: int) -> Iterator[None]:
        """Hold a place for each image while the block runs.

        Raises:
            Problem: 503, too many images wait already.
        """
        if not self._has_places(user, images):
            raise self.overload(user) or unavailable(_NO_PLACES, kind="overload")
        self._shares.take(user, images)
        try:
            yield
        finally:
            self._shares.give_back(user, images)

    def count_predicted(self, images: int) -> None:
        """Count images that the runner has answered; `Retry-After` follows from their rate."""
        self._throughput.add(images)

    def _has_places(self, user: str, images: int) -> bool:
        # A request with more images than the limit is taken while no other images wait. Otherwise it never could be.
        return not self.waiting or self._shares.can_take(user, images, total_for(self.limit))

    def _retry_after_s(self) -> float:
        """Return how long the waiting images take at the recent rate, seconds."""
        per_second = self._throughput.per_second()
        return min(LONGEST_RETRY_AFTER_S, math.ceil(self.waiting / per_second)) if per_second else 1.0


class _Throughput:
    """Measures the recent rate, images per second, over periods of at least `PERIOD_S`."""

    PERIOD_S = 1.0

    def __init__(self) -> None:
        self._period_began = time.monotonic()
        self._count = 0
        self._last_rate = 0.0

    def add(self, images: int) -> None:
        now = time.monotonic()
        elapsed = now - self._period_began
        self._count += images
        if elapsed >= self.PERIOD_S:
            self._last_rate = self._count / elapsed
            self._period_began, self._count = now, 0

    def per_second(self) -> float:
        elapsed = time.monotonic() - self._period_began
        return self._last_rate if elapsed < self.PERIOD_S else self._count / elapsed
