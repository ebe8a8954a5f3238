"""The connection to the database: reads on a few threads, writes by group commit, or at once where they are alone."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from storage import faults, postgresql
from storage.group_commit import Begin, GroupCommit, Operation
from storage.lone_commit import LoneCommit
from storage.sqlite import AT_ONCE, BUSY_TIMEOUT_MS, WAITING, WRITES, SqliteTransactions, sqlite_engine

T = TypeVar("T")

READ_THREADS = 4


class Database:
    """One database, as one process sees it.

    Nothing is opened before the first use, so that a process which only imports the service touches no file.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = _engine(url)
        self._writing = self._engine.execution_options(**{WRITES: True})
        self._writer: GroupCommit | None = None
        self._lone: LoneCommit | None = None
        self._sqlite: list[SqliteTransactions] = []
        self._begin: Begin = self._writing.begin
        if not self.has_server:
            waiting = SqliteTransactions(sqlite_engine(url, WAITING), BUSY_TIMEOUT_MS)
            at_once = SqliteTransactions(sqlite_engine(url, AT_ONCE), 0)
            self._sqlite = [waiting, at_once]
            self._begin, self._lone = waiting.begin, LoneCommit(at_once.begin)
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="storage-read")

    @property
    def has_server(self) -> bool:
        """Whether the database is a server with a clock of its own."""
        return self._engine.dialect.name == "postgresql"

    async def read(self, question: Callable[[Connection], T]) -> T:
        """What the question returns, asked in a transaction of its own.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, partial(self.ask, question))

    async def write(self, operation: Operation, change: Any) -> Any:
        """What came of the change, once it is committed (see `GroupCommit`).

        Raises:
            StorageUnavailable: the database does not answer, so that the change may not have been made.
        """
        if self._writer is None:
            self._writer = GroupCommit(self._begin)
        if self._lone is not None and not self._writer.waiting and self._lone.is_due():
            # Whatever is in its way, the thread waits for it, or says what it is.
            with suppress(OperationalError):
                return self._lone.make(operation, change)
        return await self._writer.submit(operation, change)

    def ask(self, question: Callable[[Connection], T]) -> T:
        """`read`, for callers without an event loop."""
        return _run(self._engine, question)

    def change(self, operation: Callable[[Connection], T]) -> T:
        """`write`, for callers without an event loop: a transaction of its own, committed on return."""
        return _run(self._writing, operation)

    def close(self) -> None:
        """Commit what waits, and let go of every connection."""
        if self._writer is not None:
            self._writer.close()
        self._readers.shutdown()
        self._engine.dispose()
        for transactions in self._sqlite:
            transactions.close()


def _run(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except (SQLAlchemyError, OSError) as error:
        fault = faults.of(error)
        if fault is None:
            raise
        raise fault.error() from error


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return sqlite_engine(url, WAITING)
    return postgresql.engine(parsed, READ_THREADS + 1)


def create_sqlite_file(url: str) -> None:
    """Make the file of an SQLite database, and its folder, readable by their owner alone; an existing file stays.

    Raises:
        StorageUnavailable: it can't be made there.
    """
    name = make_url(url).database
    if not url.startswith("sqlite") or not name or name == ":memory:":
        return
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise (faults.of(error) or faults.NO_FILE).error() from error
