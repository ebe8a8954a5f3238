"""Draws bars of text."""

from __future__ import annotations

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(part: float, width: int) -> str:
    """Return a bar.

    Args:
        part: how long it is, from 0 to 1.
        width: the characters of the longest bar.
    """
    eighths = round(part * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).strip()
