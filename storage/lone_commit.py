"""A lone change to SQLite, committed on the event loop itself: waking a thread for it would take longer.

Where a caller waits for nobody else, the hand-overs of its commits are what it waits for. Changes that come
close together are left to the thread that commits them as one (`group_commit.py`), and so is whatever might take long:
a database that another process holds, and the checkpoints of the write-ahead log.
"""

import time
from typing import Any

from storage.group_commit import Begin, Operation, commit_seconds

# A change that comes sooner after another has company.
APART_S = 0.001
# Every so many changes one is left to the thread, whose connection makes the checkpoints.
IN_A_ROW = 64


class LoneCommit:
    """Commits one change at a time, at once.

    Args:
        begin: begins a transaction of SQLite, which neither waits for a lock nor makes checkpoints.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._in_a_row = 0
        self._last_at = float("-inf")

    def is_due(self) -> bool:
        """Whether the change that comes now is a lone one."""
        now = time.monotonic()
        is_apart = now - self._last_at > APART_S
        self._last_at = now
        self._in_a_row = (self._in_a_row + 1) % IN_A_ROW
        return is_apart and self._in_a_row > 0

    def make(self, operation: Operation, change: Any) -> Any:
        """What came of the change, which is committed.

        Raises:
            OperationalError: another process is writing, or the database is away; nothing was changed.
        """
        try:
            with commit_seconds.time(), self._begin() as connection:
                return operation(connection, [change])[0]
        finally:
            self._last_at = time.monotonic()
