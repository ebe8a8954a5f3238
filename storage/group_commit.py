"""Commits the queued changes of many requests as one transaction, on one writer thread (group commit).

A commit costs far more than a statement. Under load, the hits and usage rows of many requests therefore share one
commit, as PostgreSQL and MySQL do for their own logs. Without load, the thread commits a single change at once: it does
not wait for others. A change's future resolves only after its commit.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

from prometheus_client import Histogram

from storage import faults
from storage.sqlite import Transaction

# Makes many changes of one kind in a transaction, and returns the result of each in the same order.
Operation = Callable[[Transaction, Sequence[Any]], Sequence[Any]]
# Begins a transaction. Leaving the context commits it, or rolls it back after an exception.
Begin = Callable[[], AbstractContextManager[Transaction]]

MAX_CHANGES_PER_COMMIT = 256
# The buckets of the histograms of commit times, in seconds.
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

commit_seconds = Histogram(
    "classifier_commit_seconds", "Duration of a transaction of hits and usage rows, with its commit.", buckets=SECONDS
)


class QueuedChange(NamedTuple):
    """A change, and the future that holds its result after the commit."""

    operation: Operation
    change: Any
    future: asyncio.Future[Any]


class Outcome(NamedTuple):
    """What a future is resolved with: a result, or an error if that is not None."""

    future: asyncio.Future[Any]
    result: Any
    error: Exception | None


class GroupCommit:
    """Makes changes grouped by operation, each group in the order of submission, many in one transaction.

    Args:
        begin: begins a transaction; called on the writer thread.

    Attributes:
        pending: the number of submitted changes whose futures are not resolved yet; read on the event loop.
    """

    def __init__(self, begin: Begin) -> None:
        self.pending = 0
        self._begin = begin
        self._queue: queue.SimpleQueue[QueuedChange | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation, change: Any) -> asyncio.Future[Any]:
        """Queue the change, and return a future of its result, which resolves after the commit.

        Must be called on the event loop that awaits the future. Cancelling the future does not cancel the change.

        Errors of the future:
            StorageUnavailable: the database does not answer, so the change may not have been made.
            Exception: any other error of the operation; this change was rolled back.
        """
        queued = QueuedChange(operation, change, asyncio.get_running_loop().create_future())
        self.take([queued])
        return queued.future

    def take(self, changes: Sequence[QueuedChange]) -> None:
        """Queue changes that have futures already; called on the event loop, as `submit` is."""
        self.pending += len(changes)
        for queued in changes:
            self._queue.put(queued)

    def close(self) -> None:
        """Commit the queued changes, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            batch, is_closing = self._next_batch()
            if batch:
                self._process(batch)

    def _next_batch(self) -> tuple[list[QueuedChange], bool]:
        """Wait for a change, and return it with those queued behind it, and whether `close` was called."""
        batch: list[QueuedChange] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == MAX_CHANGES_PER_COMMIT or self._queue.empty():
                return batch, False
            # Does not block: no other thread takes from the queue.
            item = self._queue.get()
        return batch, True

    def _process(self, batch: list[QueuedChange]) -> None:
        try:
            outcomes = commit(self._begin, batch)
        except Exception as error:
            if len(batch) > 1 and faults.of(error) is None:
                # The program's error in one change rolled back all of them. Only the change at fault may fail.
                self._process_one_by_one(batch)
                return
            outcomes = _failures(batch, error)
        self._resolve_on_loop(outcomes)

    def _process_one_by_one(self, batch: list[QueuedChange]) -> None:
        for queued in batch:
            try:
                outcomes = commit(self._begin, [queued])
            except Exception as error:
                outcomes = _failures([queued], error)
            self._resolve_on_loop(outcomes)

    def _resolve_on_loop(self, outcomes: list[Outcome]) -> None:
        """Wake the event loop once for all outcomes, since waking a thread costs more than most changes."""
        loop = outcomes[0].future.get_loop()
        # RuntimeError: the loop is closed, so no caller is waiting any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._resolve, outcomes)

    def _resolve(self, outcomes: list[Outcome]) -> None:
        self.pending -= len(outcomes)
        resolve(outcomes)


def commit(begin: Begin, batch: Sequence[QueuedChange]) -> list[Outcome]:
    """Commit all changes of the batch in one transaction; an error rolls all of them back."""
    groups: dict[Operation, list[QueuedChange]] = {}
    for queued in batch:
        groups.setdefault(queued.operation, []).append(queued)
    outcomes = []
    with commit_seconds.time(), begin() as connection:
        # All replicas make changes of two kinds in the same order, which prevents a deadlock.
        for operation, group in sorted(groups.items(), key=lambda of_kind: _name(of_kind[0])):
            results = operation(connection, [queued.change for queued in group])
            for queued, result in zip(group, results, strict=True):
                outcomes.append(Outcome(queued.future, result, None))
    return outcomes


def resolve(outcomes: Sequence[Outcome]) -> None:
    """Resolve the futures of changes, on the event loop that awaits them."""
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def _name(operation: Operation) -> tuple[str, str]:
    return operation.__module__, operation.__qualname__


def _failures(batch: list[QueuedChange], error: Exception) -> list[Outcome]:
    """Fail each change with an exception of its own, since callers raise them independently of each other."""
    fault = faults.of(error)
    return [Outcome(queued.future, None, fault.error() if fault else error) for queued in batch]
