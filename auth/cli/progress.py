"""Writes the progress of a long command to standard error."""

import sys
import time

SHOWN_EVERY_S = 1.0


class Progress:
    """Writes lines, at most one in `SHOWN_EVERY_S`; the first one after that time.

    Args:
        is_shown: whether to write lines at all.
    """

    def __init__(self, is_shown: bool = True) -> None:
        self._is_shown = is_shown
        self._last_s = time.monotonic()

    def show(self, line: str, *, at_once: bool = False) -> None:
        """Write a line if it is time for one.

        Args:
            line: the line.
            at_once: whether to write it even if another one was written just before.
        """
        if self._is_shown and (at_once or time.monotonic() > self._last_s + SHOWN_EVERY_S):
            self._last_s = time.monotonic()
            print(line, file=sys.stderr)
