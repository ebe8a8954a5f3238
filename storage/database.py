"""Runs reads on a few threads, and commits writes together, on the event loop (SQLite) or on a thread."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from storage import faults, postgresql
from storage.group_commit import Begin, GroupCommit, Operation
from storage.inline_commit import InlineCommit
from storage.sqlite import BUSY_TIMEOUT_MS, NON_BLOCKING, WAITING, WRITES, SqliteTransactions, sqlite_engine
from storage.sqlite_file import SqliteFile

T = TypeVar("T")

READ_THREADS = 4


class Database:
    """One process's access to the database.

    Opens nothing before the first use, so that a process which only imports the service touches no file.

    Args:
        url: the database's URL, as `storage.urls.database` returns it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        file = SqliteFile(url)
        self._engine = _create_engine(url, file)
        self._write_engine = self._engine.execution_options(**{WRITES: True})
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="storage-read")
        self._commits: GroupCommit | InlineCommit | None = None
        self._sqlite_connections: list[SqliteTransactions] = []
        self._begin: Begin = self._write_engine.begin
        self._begin_inline: Begin | None = None
        if not self.has_server:
            waiting = SqliteTransactions(sqlite_engine(url, WAITING, file), BUSY_TIMEOUT_MS, file)
            non_blocking = SqliteTransactions(sqlite_engine(url, NON_BLOCKING, file), 0, file)
            self._sqlite_connections = [waiting, non_blocking]
            self._begin = waiting.begin
            self._begin_inline = non_blocking.begin

    @property
    def has_server(self) -> bool:
        """Whether the database is a server with its own clock (PostgreSQL), not a file (SQLite)."""
        return self._engine.dialect.name == "postgresql"

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run the query in a transaction of its own, on a reader thread, and return its result.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, partial(self.ask, query))

    async def write(self, operation: Operation, change: Any) -> Any:
        """Commit the change, and return its result (see `GroupCommit` and `InlineCommit`).

        Raises:
            StorageUnavailable: the database does not answer, so the change may not have been made.
        """
        if self._commits is None:
            thread = GroupCommit(self._begin)
            self._commits = thread if self._begin_inline is None else InlineCommit(self._begin_inline, thread)
        return await self._commits.submit(operation, change)

    async def change_in_thread(self, operation: Callable[[Connection], T]) -> T:
        """Run a rare operation as `change` does, on a reader thread; for callers on the event loop.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, partial(self.change, operation))

    def ask(self, query: Callable[[Connection], T]) -> T:
        """Do the same as `read`, for callers without an event loop."""
        return _run(self._engine, query)

    def change(self, operation: Callable[[Connection], T]) -> T:
        """Run the operation in a write transaction of its own, for callers without an event loop; commit on return.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        return _run(self._write_engine, operation)

    def close(self) -> None:
        """Commit the queued changes, and close every connection."""
        if self._commits is not None:
            self._commits.close()
        self._readers.shutdown()
        self._engine.dispose()
        for connection in self._sqlite_connections:
            connection.close()


def _run(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except (SQLAlchemyError, OSError) as error:
        fault = faults.of(error)
        if fault is None:
            raise
        raise fault.error() from error


def _create_engine(url: str, file: SqliteFile) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return sqlite_engine(url, WAITING, file)
    return postgresql.engine(parsed, READ_THREADS + 1)


def create_sqlite_file(url: str) -> None:
    """Create the file of an SQLite database and its folder, readable by their owner only; keep an existing file.

    Does nothing for a PostgreSQL URL.

    Raises:
        StorageUnavailable: the file can't be created at that path.
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
