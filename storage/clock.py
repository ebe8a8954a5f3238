"""The time, as it is kept."""

import time


def unix_us() -> int:
    """The time, Unix microseconds."""
    return time.time_ns() // 1000
