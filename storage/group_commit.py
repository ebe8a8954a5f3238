"""One thread that writes, and commits everything that waits as one transaction.

A commit costs far more than a statement. Under load, hits and ledger rows of many requests share one (group commit, as
PostgreSQL and MySQL do for their own logs); at rest a single request is committed at once, since nothing waits for
company. An operation is done when its commit is: its future resolves afterwards, never before.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.errors import StorageUnavailable

Operation = Callable[[Connection], Any]
Waiting = tuple[Operation, Future[Any]]

MOST_IN_ONE_COMMIT = 256
DATABASE_IS_AWAY = (OperationalError, InterfaceError, PoolTimeout)


class GroupCommit:
    """Runs operations one after another, in the order of their submission, many to a transaction."""

    def __init__(self, engine: Engine) -> None:
        """
        Args:
            engine: what the transactions are begun on; each must lock out other writers (SQLite: BEGIN IMMEDIATE).
        """
        self._engine = engine
        self._waiting: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation) -> Future[Any]:
        """Have the operation run and committed; the future then holds what it returned."""
        future: Future[Any] = Future()
        self._waiting.put((operation, future))
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
        try:
            with self._engine.begin() as connection:
                results = [operation(connection) for operation, _ in batch]
        except DATABASE_IS_AWAY as error:
            for _, future in batch:
                future.set_exception(StorageUnavailable(type(error).__name__))
        except Exception as error:
            # One operation spoilt the transaction of all: each gets one of its own, so that only that one fails.
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:
                for item in batch:
                    self._settle([item])
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
