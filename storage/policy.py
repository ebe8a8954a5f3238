"""Limits, and a user's standing with them. Only values: `limits.py` and `limits_redis.py` count hits."""

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

from storage.clock import MICROSECONDS
from storage.quotas import QuotaStanding

# The window of each unit, seconds.
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
# The letters of times such as 30d, 12h, 15m and 90s, seconds.
LETTERS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PATTERN = re.compile(
    r"(?P<quota>[1-9]\d{0,8})/(?:(?P<unit>second|minute|hour|day)|(?P<number>[1-9]\d{0,7})(?P<letter>[smhd]))",
    re.ASCII,
)
_CALENDAR = re.compile(r"\d+/(month|week|year)")
_CALENDAR_DAYS = {"week": 7, "month": 30, "year": 365}
_LONGEST_S = 99_999_999
_TIME = re.compile(r"([1-9]\d{0,8})([smhd])", re.ASCII)
_LONGEST_TIME_S = 36500 * LETTERS["d"]
HOW_TO_WRITE_DURATION = "write a time like 30d, 12h, 15m or 90s"
HOW_TO_WRITE = "write a limit like 60/minute (second, minute, hour, day), 60/90s, 60/12h or 60/30d"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `quota` classifications in any window of `window_s` seconds."""

    quota: int
    window_s: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a limit such as `60/minute`, `60/90s` or `60/30d`.

        Raises:
            ValueError: the text is not a limit; the message says how to write one.
        """
        match = _PATTERN.fullmatch(text.strip())
        if match is None:
            raise ValueError(_what_to_write(text.strip()))
        quota = int(match["quota"])
        if match["unit"]:
            return cls(quota, UNITS[match["unit"]])
        window_s = int(match["number"]) * LETTERS[match["letter"]]
        if window_s > _LONGEST_S:
            raise ValueError(f"write a limit for at most {_LONGEST_S // UNITS['day']} days")
        return cls(quota, window_s)

    def __str__(self) -> str:
        unit = next((name for name, seconds in UNITS.items() if seconds == self.window_s), f"{self.window_s}s")
        return f"{self.quota}/{unit}"


def _what_to_write(text: str) -> str:
    """Return what to write instead of a text that is no limit."""
    match = _CALENDAR.fullmatch(text)
    if match is None:
        return HOW_TO_WRITE
    unit = match[1]
    days = f"{_CALENDAR_DAYS[unit]}d"
    reason = f"a limit is for the time just before each request, so '{unit}' is no fixed time"
    return f"{reason}: write {days} instead; {HOW_TO_WRITE}"


def parse_seconds(text: str) -> int:
    """Parse a time such as `30d` or `12h`, and return it in seconds.

    Raises:
        ValueError: the text is not a time; the message says how to write one.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(HOW_TO_WRITE_DURATION)
    found = int(match[1]) * LETTERS[match[2]]
    if found > _LONGEST_TIME_S:
        raise ValueError("write a time of at most 100 years, 36500d")
    return found


def parse_limits(text: str) -> tuple[Limit, ...]:
    """Parse a user's limits as the database stores them: separated by commas.

    Raises:
        ValueError: one of them is not a limit.
    """
    return tuple(Limit.parse(part) for part in text.split(","))


def write_limits(limits: tuple[Limit, ...]) -> str:
    """Format limits for the database; the inverse of `parse_limits`."""
    return ",".join(map(str, limits))


def kept_s(limits: tuple[Limit, ...]) -> int:
    """Return how long the hits of a user with these limits are kept, seconds.

    At least a day, so that after a change between limits per second, minute, hour and day, no hit is missing in the new
    window.
    """
    return max(UNITS["day"], *(limit.window_s for limit in limits))


class Standing(NamedTuple):
    """How much of one limit a user has used.

    Attributes:
        limit: the limit.
        remaining: how many more classifications the limit admits now.
        reset_s: seconds until the oldest hit leaves the window; 0 if there is none.
        wait_s: seconds until the request would be admitted; 0 if it is admitted now.
    """

    limit: Limit
    remaining: int
    reset_s: float
    wait_s: float

    @classmethod
    def at(
        cls, limit: Limit, now_us: int, used: int, oldest_us: int | None, cost: int, blocking_us: int | None
    ) -> Self:
        """Compute the standing at a time, before a request is counted.

        Args:
            limit: the limit.
            now_us: the time, Unix microseconds.
            used: the number of hits in the window that ends now.
            oldest_us: the time of the oldest of them, Unix microseconds; None if there is none.
            cost: the number of images of the request; 0 to read the standing only.
            blocking_us: the time of the hit that must leave the window before the request fits, Unix microseconds; None
                if it fits now, or never.
        """

        def seconds_until_outside(at_us: int) -> float:
            # One microsecond more, since a hit that is exactly as old as the window is still in it.
            return (at_us + limit.window_s * MICROSECONDS - now_us + 1) / MICROSECONDS

        if blocking_us is not None:
            wait_s = seconds_until_outside(blocking_us)
        else:
            # A request that costs more than the whole quota is never admitted.
            wait_s = float(limit.window_s) if cost > limit.quota else 0.0
        reset_s = seconds_until_outside(oldest_us) if oldest_us is not None else 0.0
        return cls(limit, max(0, limit.quota - used), reset_s, wait_s)

    def after(self, cost: int) -> "Standing":
        """Return the standing after an admitted request of `cost` images is counted."""
        reset_s = self.reset_s or float(self.limit.window_s)
        return Standing(self.limit, self.remaining - cost, reset_s, 0.0)


class Decision(NamedTuple):
    """Whether a request was admitted, and the user's standing afterwards with each limit.

    Attributes:
        standings: one for each limit, in the order of the limits.
        clock_ran_back: whether hits in the future were read as made now, without writing their new time.
        quotas: the standing with each quota, in the order of the quotas.
    """

    standings: tuple[Standing, ...]
    clock_ran_back: bool = False
    quotas: tuple[QuotaStanding, ...] = ()

    @property
    def admitted(self) -> bool:
        """Whether no limit and no quota refused the request."""
        return self.wait_s == 0

    @property
    def wait_s(self) -> float:
        """Seconds until every limit and quota would admit the request; 0 if it was admitted."""
        waits_s = [standing.wait_s for standing in self.standings]
        return max(waits_s + [standing.wait_s for standing in self.quotas], default=0)

    def after(self, cost: int, reserved: int = 0) -> "Decision":
        """Return the decision after an admitted request of `cost` hits and `reserved` images of quotas is counted."""
        limits = tuple(standing.after(cost) for standing in self.standings)
        return Decision(limits, self.clock_ran_back, tuple(standing.after(reserved) for standing in self.quotas))
