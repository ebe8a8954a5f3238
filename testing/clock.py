"""A clock that a test moves forward: the store, the limits and the event loop read their time from it."""

import asyncio

START_US = 1_700_000_000 * 1_000_000
# A test that waits longer than this, seconds, waits for something that does not happen.
GIVE_UP_AFTER_S = 60
# Of real time beyond this, seconds, a tenth counts.
COUNTED_WHOLE_S = 0.6


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
    """An event loop whose time is what the clock was advanced by, and a little of the real time.

    Timeouts and timers (`asyncio.timeout`, `call_later`) use `time()`, so a test need not sleep until they end. Short
    ones pass by themselves. Long ones do not, however slow the machine is, until the test advances the clock or waits
    for something that does not happen.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._advanced_s = clock.advanced_s
        self._since_s = self._counted_s = 0.0
        super().__init__()

    def time(self) -> float:
        now_s = super().time()
        if self._advanced_s != self._clock.advanced_s:
            self._counted_s += _counted(now_s - self._since_s)
            self._since_s, self._advanced_s = now_s, self._clock.advanced_s
        self._since_s = self._since_s or now_s
        return self._advanced_s + self._counted_s + _counted(now_s - self._since_s)


def _counted(real_s: float) -> float:
    """Return how much of the real time since the clock was last advanced counts, seconds."""
    if real_s < COUNTED_WHOLE_S or real_s > GIVE_UP_AFTER_S:
        return real_s
    return COUNTED_WHOLE_S + (real_s - COUNTED_WHOLE_S) / 10
