"""What a limit is, and where a user stands with it. Pure values: the counting is in `limits.py`."""

import re
from dataclasses import dataclass
from typing import Self

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_WRITTEN = re.compile(r"(?P<quota>[1-9]\d{0,8})/(?:(?P<unit>second|minute|hour|day)|(?P<seconds>[1-9]\d{0,7})s)")
HOW_TO_WRITE = "write a limit like 60/minute (second, minute, hour, day) or 60/90s"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `quota` classifications in any window of `window_s` seconds."""

    quota: int
    window_s: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `60/minute` or `60/90s`.

        Raises:
            ValueError: the text is no limit; the message says how to write one.
        """
        match = _WRITTEN.fullmatch(text.strip())
        if match is None:
            raise ValueError(HOW_TO_WRITE)
        return cls(int(match["quota"]), UNITS[match["unit"]] if match["unit"] else int(match["seconds"]))

    def __str__(self) -> str:
        unit = next((name for name, seconds in UNITS.items() if seconds == self.window_s), f"{self.window_s}s")
        return f"{self.quota}/{unit}"


def parse_limits(text: str) -> tuple[Limit, ...]:
    """The limits of a user as the database holds them, separated by commas."""
    return tuple(Limit.parse(part) for part in text.split(","))


def write_limits(limits: tuple[Limit, ...]) -> str:
    """The inverse of `parse_limits`."""
    return ",".join(map(str, limits))


def kept_s(limits: tuple[Limit, ...]) -> int:
    """How long the hits of a user with these limits are kept, seconds.

    At least a day, so that a change between limits by the second, minute, hour and day counts every hit from the start.
    """
    return max(UNITS["day"], *(limit.window_s for limit in limits))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a user stands with one limit.

    Attributes:
        limit: the limit.
        remaining: how many more classifications the limit admits now.
        reset_s: seconds until a place is freed; 0 where no place is taken.
        wait_s: seconds until the request that asked would be admitted; 0 where it is admitted now.
    """

    limit: Limit
    remaining: int
    reset_s: float
    wait_s: float

    @classmethod
    def at(
        cls, limit: Limit, now_us: int, used: int, oldest_us: int | None, cost: int, blocking_us: int | None
    ) -> Self:
        """The standing of a request that costs `cost`, before it is counted.

        Args:
            limit: the limit.
            now_us: the time, Unix microseconds.
            used: the hits in the window that ends now.
            oldest_us: the time of the oldest of them.
            cost: the images of the request; 0 only to look.
            blocking_us: where the request is refused for now, the time of the hit that must leave the window first.
        """

        def seconds_until_gone(at_us: int) -> float:
            # One microsecond more, since a hit exactly as old as the window still lies in it.
            return (at_us + limit.window_s * 1_000_000 - now_us + 1) / 1_000_000

        if blocking_us is not None:
            wait_s = seconds_until_gone(blocking_us)
        else:
            # What costs more than the whole limit is never admitted.
            wait_s = float(limit.window_s) if cost > limit.quota else 0.0
        reset_s = seconds_until_gone(oldest_us) if oldest_us is not None else 0.0
        return cls(limit, max(0, limit.quota - used), reset_s, wait_s)

    def after(self, cost: int) -> "Standing":
        """The standing once `cost` places are taken."""
        reset_s = self.reset_s or float(self.limit.window_s)
        return Standing(self.limit, self.remaining - cost, reset_s, 0.0)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request was admitted, and where its user stands afterwards, one standing for each limit.

    Attributes:
        standings: in the order of the limits.
        clock_ran_back: whether hits lay in the future, and were only read as made now: nothing was written.
    """

    standings: tuple[Standing, ...]
    clock_ran_back: bool = False

    @property
    def admitted(self) -> bool:
        """Whether no limit refused the request."""
        return self.wait_s == 0

    @property
    def wait_s(self) -> float:
        """Seconds until every limit would admit the request; 0 where it was admitted."""
        return max((standing.wait_s for standing in self.standings), default=0)
