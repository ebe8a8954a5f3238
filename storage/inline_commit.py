"""Commits one SQLite change on the event loop itself, when no other change is queued.

Such a commit takes 60 µs. Waking the writer thread, and being woken by it, takes longer. Whatever might block the event
loop is left to the writer thread (`group_commit.py`): waiting for a lock that another process holds, and checkpoints of
the write-ahead log.
"""

from typing import Any, NamedTuple

from sqlalchemy.exc import OperationalError

from storage.group_commit import Begin, Operation, commit_seconds

# One in so many changes goes to the writer thread, because only the thread's connection makes checkpoints.
CHECKPOINT_EVERY = 64


class Committed(NamedTuple):
    """The result of a committed change."""

    result: Any


class InlineCommit:
    """Commits one change at a time, on the thread of its caller.

    Args:
        begin: begins a SQLite transaction that neither waits for a lock nor makes checkpoints.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._attempts = 0

    def try_commit(self, operation: Operation, change: Any) -> Committed | None:
        """Commits the change without waiting for anything.

        Returns:
            The result. None if nothing was changed, and the writer thread has to make the change: it is its turn to
            make a checkpoint, another process holds the lock, or the database has a fault, which the thread reports.
        """
        self._attempts += 1
        if self._attempts % CHECKPOINT_EVERY == 0:
            return None
        try:
            with commit_seconds.time(), self._begin() as connection:
                result = operation(connection, [change])[0]
        except OperationalError:
            return None
        return Committed(result)
