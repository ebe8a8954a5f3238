"""What both clients share about classifying many images at a time."""

from __future__ import annotations

# How many images for each request under way are taken in advance: a slow one then does not keep the others waiting.
AHEAD = 4


def check_concurrency(concurrency: int) -> None:
    """Check how many requests may be under way.

    Raises:
        ValueError: it is less than 1.
    """
    if concurrency < 1:
        raise ValueError("concurrency must be 1 or more.")
