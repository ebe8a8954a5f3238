"""Commits SQLite changes on the event loop itself: those of one turn of the loop together, in one transaction.

The busier the service is, the more changes come in one turn, and the less each of them costs. Waking the writer thread,
and being woken by it, takes longer than a transaction does. Whatever might block the event loop is left to the writer
thread (`group_commit.py`): waiting for a lock that another process holds, and checkpoints of the write-ahead log.
"""

import asyncio
from typing import Any

from storage.group_commit import Begin, GroupCommit, Operation, QueuedChange, commit, resolve

# One in this many transactions goes to the writer thread, because only the thread's connection makes checkpoints.
CHECKPOINT_EVERY = 64
# More changes would block the event loop for some milliseconds.
MOST_CHANGES = 64


class InlineCommit:
    """Commits changes on the event loop, or hands them over to the writer thread.

    Args:
        begin: begins a SQLite transaction that neither waits for a lock nor makes checkpoints.
        writer: the writer thread's queue.
    """

    def __init__(self, begin: Begin, writer: GroupCommit) -> None:
        self._begin = begin
        self._writer = writer
        self._changes: list[QueuedChange] = []
        self._transactions = 0

    def submit(self, operation: Operation, change: Any) -> asyncio.Future[Any]:
        """Queue the change, to be committed with the others of this turn; see `GroupCommit.submit`."""
        loop = asyncio.get_running_loop()
        if not self._changes:
            loop.call_soon(self._commit)
        queued = QueuedChange(operation, change, loop.create_future())
        self._changes.append(queued)
        return queued.future

    def close(self) -> None:
        """Commit the changes so far, then end the thread."""
        self._commit()
        self._writer.close()

    def _commit(self) -> None:
        """Commit the changes so far, or hand them over to the thread.

        The thread gets them if it has others, which must not be overtaken; if it is its turn, for a checkpoint; and if
        they can't be committed here: another process holds the lock, a change fails, or the database has a fault.
        """
        if not self._changes:
            return
        changes, self._changes = self._changes, []
        self._transactions += 1
        if self._writer.pending or len(changes) > MOST_CHANGES or self._transactions % CHECKPOINT_EVERY == 0:
            return self._writer.take(changes)
        try:
            outcomes = commit(self._begin, changes)
        except Exception:
            # It was rolled back. The thread tells which change is at fault.
            return self._writer.take(changes)
        resolve(outcomes)
