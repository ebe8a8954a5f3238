"""A clock that a test moves forward: the store, the limits and the event loop read their time from it."""

import asyncio

START_US = 1_700_000_000 * 1_000_000
# A test that waits longer than this, seconds, waits for something that does not happen.
GIVE_UP_AFTER_S = 20


class Clock:
    """The time of one test. It stands still until the test advances it.

    Attributes:
        now_us: the time, Unix microseconds.
    """

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us
        self._started_us = now_us

    @property
    def advanced_s(self) -> float:
        """Seconds by which the test has advanced the clock: a monotonic clock that starts at 0."""
        return (self.now_us - self._started_us) / 1_000_000

    def advance(self, seconds: int = 0, microseconds: int = 0) -> None:
        """Move the clock forward. Timers of the event loop that are then due run in its next iteration."""
        self.now_us += seconds * 1_000_000 + microseconds

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Create an event loop whose timers follow this clock."""
        return _ClockedLoop(self)


class _ClockedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the real one plus what the clock was advanced by.

    Timeouts and timers (`asyncio.timeout`, `call_later`) use `time()`, so a test need not sleep until they end.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__()

    def time(self) -> float:
        return super().time() + self._clock.advanced_s
