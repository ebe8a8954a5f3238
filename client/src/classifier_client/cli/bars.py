"""Draws bars of text."""

from __future__ import annotations

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(part: float, width: int, is_ascii: bool = False) -> str:
    """Return a bar.

    Args:
        part: how long it is, from 0 to 1.
        width: the characters of the longest bar.
        is_ascii: whether it may have no other characters, because the terminal shows no others.
    """
    if is_ascii:
        return "#" * round(part * width)
    eighths = round(part * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).strip()
