"""The current time in the unit that storage uses, and times as people and programs read them."""

import time
from datetime import UTC, datetime

# Microseconds in a second.
MICROSECONDS = 1_000_000
LAST_SECOND = 253_402_300_799  # of the year 9999, in Unix time: no later one can be written in ISO 8601


def unix_us() -> int:
    """Return the Unix time in microseconds."""
    return time.time_ns() // 1000


def iso(unix_us: int | None) -> str | None:
    """Return a time, Unix microseconds, in ISO 8601 with whole seconds; None for None."""
    if unix_us is None:
        return None
    return datetime.fromtimestamp(unix_us // MICROSECONDS, UTC).isoformat(timespec="seconds")
