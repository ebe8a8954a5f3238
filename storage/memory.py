"""What was read a moment ago, remembered for a moment, so that it need not be read for every request."""

import time
from typing import Generic, TypeVar

MOST = 10_000

T = TypeVar("T")


class Memory(Generic[T]):
    """Values by name, each forgotten after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: dict[str, tuple[float, T]] = {}

    def get(self, name: str) -> T | None:
        """The value, where it is known and young enough."""
        known = self._values.get(name)
        if known is None or time.monotonic() - known[0] >= self._seconds:
            return None
        return known[1]

    def put(self, name: str, value: T, at: float | None = None) -> None:
        """Remember a value.

        Args:
            name: whose it is.
            value: the value.
            at: when it was true, on the monotonic clock; now, where not given.
        """
        if len(self._values) >= MOST and name not in self._values:
            self._values.clear()
        self._values[name] = (time.monotonic() if at is None else at, value)
