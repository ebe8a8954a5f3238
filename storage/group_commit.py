"""One thread that writes, and commits everything that waits as one transaction.

A commit costs far more than a statement. Under load, hits and ledger rows of many requests share one (group commit, as
PostgreSQL and MySQL do for their own logs); at rest a single request is committed at once, since nothing waits for
company. A change is done when its commit is: its future resolves afterwards, never before.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

from prometheus_client import Histogram

from storage import faults
from storage.sqlite import Transaction

# Makes many changes of one kind, and returns what came of each, in their order.
Operation = Callable[[Transaction, Sequence[Any]], Sequence[Any]]
Begin = Callable[[], AbstractContextManager[Transaction]]
Waiting = tuple[Operation, Any, asyncio.Future[Any]]
# Who waits, what came of the change, or why nothing did.
Outcome = tuple[asyncio.Future[Any], Any, Exception | None]

MOST_IN_ONE_COMMIT = 256
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

commit_seconds = Histogram(
    "classifier_commit_seconds", "A transaction of hits and ledger rows, to its commit.", buckets=SECONDS
)


class GroupCommit:
    """Makes changes in the order of their submission, kind by kind, many to a transaction.

    Args:
        begin: begins a transaction, which is committed when it is left; called on the thread that writes.

    Attributes:
        waiting: changes whose callers have not yet been answered.
    """

    def __init__(self, begin: Begin) -> None:
        self.waiting = 0
        self._begin = begin
        self._waiting: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation, change: Any) -> asyncio.Future[Any]:
        """Have the change made and committed; the future then holds what came of it.

        Called on the event loop that awaits it. Who cancels the future does not take back the change.
        """
        future = asyncio.get_running_loop().create_future()
        self.waiting += 1
        self._waiting.put((operation, change, future))
        return future

    def close(self) -> None:
        """Commit what waits, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, last = self._with_company(first)
            self._settle(batch)
            if last:
                return

    def _with_company(self, first: Waiting) -> tuple[list[Waiting], bool]:
        batch = [first]
        while len(batch) < MOST_IN_ONE_COMMIT:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return batch, True
            batch.append(item)
        return batch, False

    def _settle(self, batch: list[Waiting]) -> None:
        kinds: dict[Operation, list[Waiting]] = {}
        for item in batch:
            kinds.setdefault(item[0], []).append(item)
        try:
            with commit_seconds.time(), self._begin() as connection:
                results = [operation(connection, [item[1] for item in items]) for operation, items in kinds.items()]
        except Exception as error:
            fault = faults.of(error)
            if fault is not None:
                self._answer((future, None, fault.error()) for *_, future in batch)
                return
            # One change spoilt the transaction of all: each gets one of its own, so that only that one fails.
            if len(batch) == 1:
                self._answer([(batch[0][2], None, error)])
            else:
                for item in batch:
                    self._settle([item])
        else:
            self._answer(
                (future, result, None)
                for items, of_kind in zip(kinds.values(), results, strict=True)
                for (*_, future), result in zip(items, of_kind, strict=True)
            )

    def _answer(self, outcomes: Iterable[Outcome]) -> None:
        """Wake the event loop once for all of them: to wake a thread costs more than most changes do."""
        done = list(outcomes)
        # A loop that has been closed meanwhile has nobody left who waits.
        with suppress(RuntimeError):
            done[0][0].get_loop().call_soon_threadsafe(self._resolve, done)

    def _resolve(self, outcomes: Sequence[Outcome]) -> None:
        self.waiting -= len(outcomes)
        for future, result, error in outcomes:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
