"""A change to SQLite that finds no other waiting, committed on the event loop itself.

It takes 60 µs; waking a thread for it, and being woken by it, takes longer. What might take long is left to the thread
that commits what waits as one (`group_commit.py`): a database that another process holds, and the checkpoints of the
write-ahead log.
"""

from typing import Any

from storage.group_commit import Begin, Operation, commit_seconds

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

    def is_due(self) -> bool:
        """Whether the change that comes now may be made here."""
        self._in_a_row = (self._in_a_row + 1) % IN_A_ROW
        return self._in_a_row > 0

    def make(self, operation: Operation, change: Any) -> Any:
        """What came of the change, which is committed.

        Raises:
            OperationalError: another process is writing, or the database is away; nothing was changed.
        """
        with commit_seconds.time(), self._begin() as connection:
            return operation(connection, [change])[0]
