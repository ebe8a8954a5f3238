"""Quotas: how many images a user may have answered in a calendar month or day, UTC. `reservations.py` counts them.

A limit is for the time just before each request; a quota is for a month or day of the calendar, as bills are.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from storage.clock import MICROSECONDS

_PATTERN = re.compile(r"([1-9]\d{0,11})/(month|day)", re.ASCII)
HOW_TO_WRITE = "write a quota like 10000/month or 500/day"


@dataclass(frozen=True, slots=True)
class Period:
    """One month or day. Both ends are Unix seconds at midnight UTC; the end is exclusive."""

    start_s: int
    end_s: int

    @property
    def length_s(self) -> int:
        """How long the period is, seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `images` answered images in each calendar `period`, `month` or `day`."""

    images: int
    period: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a quota such as `10000/month`.

        Raises:
            ValueError: the text is not a quota; the message says how to write one.
        """
        match = _PATTERN.fullmatch(text.strip())
        if match is None:
            raise ValueError(HOW_TO_WRITE)
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.images}/{self.period}"

    def period_at(self, at_us: int) -> Period:
        """Return the month or day in which a time lies, Unix microseconds."""
        at = datetime.fromtimestamp(at_us // MICROSECONDS, UTC)
        start = at.replace(hour=0, minute=0, second=0)
        end = start + timedelta(days=1)
        if self.period == "month":
            start = start.replace(day=1)
            # 32 days after the first of a month is always in the next month.
            end = (start + timedelta(days=32)).replace(day=1)
        return Period(int(start.timestamp()), int(end.timestamp()))


@dataclass(frozen=True, slots=True)
class QuotaStanding:
    """How much of one quota a user has used.

    Attributes:
        quota: the quota.
        remaining: how many more images the quota admits in its period.
        window_s: the length of the period, seconds.
        reset_s: seconds until the period ends.
        wait_s: seconds until the request may be admitted: 0 if the quota admits it now, else `reset_s`.
    """

    quota: Quota
    remaining: int
    window_s: int
    reset_s: float
    wait_s: float

    @classmethod
    def at(cls, quota: Quota, now_us: int, used: int, cost: int) -> Self:
        """Compute the standing before a request is counted.

        Args:
            quota: the quota.
            now_us: the time, Unix microseconds.
            used: the images of the period that were answered or are reserved.
            cost: the number of images of the request; 0 to read the standing only.
        """
        period = quota.period_at(now_us)
        reset_s = period.end_s - now_us / MICROSECONDS
        wait_s = reset_s if cost and used + cost > quota.images else 0.0
        return cls(quota, max(0, quota.images - used), period.length_s, reset_s, wait_s)

    def after(self, cost: int) -> "QuotaStanding":
        """Return the standing after an admitted request of `cost` images is counted."""
        return QuotaStanding(self.quota, self.remaining - cost, self.window_s, self.reset_s, 0.0)


def parse_quotas(text: str | None) -> tuple[Quota, ...]:
    """Parse quotas as the database stores them: separated by commas; None or an empty text for none."""
    return tuple(map(Quota.parse, text.split(","))) if text else ()


def write_quotas(quotas: tuple[Quota, ...]) -> str | None:
    """Format quotas for the database; the inverse of `parse_quotas`."""
    return ",".join(map(str, quotas)) or None
