"""The current time in the unit that storage uses."""

import time


def unix_us() -> int:
    """Returns the Unix time in microseconds."""
    return time.time_ns() // 1000
