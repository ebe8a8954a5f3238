"""Notices when a store is lost and when it is back: the log has one line for each, and a metric counts the failures."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import Counter

from storage.errors import StorageUnavailable

# A store that comes and goes is reported once in this time, seconds; a loss that lasts longer is always reported.
QUIET_S = 10.0

logger = logging.getLogger("bentoml.classifier")
T = TypeVar("T")

unavailable_total = Counter(
    "classifier_storage_unavailable", "Requests and background checks that a store did not answer.", ["store"]
)


class Availability:
    """Whether one store answers this process.

    Args:
        label: the store in the metric and in fields of the log: "database" or "redis".
        name: the store at the start of a sentence.
        clock_s: returns the time, seconds.
    """

    def __init__(self, label: str, name: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._name = name
        self._clock_s = clock_s
        # When the store was lost, and when it last failed, seconds; None: it answers.
        self._lost_s: float | None = None
        self._failed_s: float | None = None
        self._only_changes_fail = False
        self._is_reported = False
        self._quiet_until_s = float("-inf")
        # Starts at zero, since Prometheus sees no increase in a counter whose first value is one.
        self._failures = unavailable_total.labels(label)

    async def watch(self, answer: Awaitable[T], is_change: bool = False) -> T:
        """Return the answer of the store, and note that it answers.

        Args:
            answer: what the store is asked.
            is_change: whether it was asked to change something: a store with a full disk only answers reads.

        Raises:
            StorageUnavailable: the store did not answer; this is noted.
        """
        asked_s = self._clock_s()
        try:
            result = await answer
        except StorageUnavailable as error:
            self._failed(error)
            raise
        if self._lost_s is not None and (is_change or not self._only_changes_fail):
            self._answered(asked_s)
        return result

    def _failed(self, error: StorageUnavailable) -> None:
        self._failures.inc()
        self._failed_s = now_s = self._clock_s()
        self._only_changes_fail = error.only_changes_fail
        if self._lost_s is None:
            self._lost_s = now_s
        if not self._is_reported and now_s >= self._quiet_until_s:
            self._is_reported = True
            self._log(logging.WARNING, f"{self._name} is away, so requests are refused: {error}")

    def _answered(self, asked_s: float) -> None:
        assert self._lost_s is not None
        assert self._failed_s is not None
        if asked_s < self._failed_s:
            # It was asked before it failed another request, so it may be away now.
            return
        away_s = self._clock_s() - self._lost_s
        if self._is_reported:
            self._is_reported = False
            self._quiet_until_s = self._clock_s() + QUIET_S
            self._log(logging.WARNING, f"{self._name} is back after {away_s:.0f} s; requests are answered again.")
        self._lost_s = None

    def _log(self, level: int, message: str) -> None:
        logger.log(level, message, extra={"fields": {"store": self._label}})
