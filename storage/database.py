"""The connection to the database: reads on a few threads, writes by group commit."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url

from storage.errors import StorageUnavailable
from storage.group_commit import DATABASE_IS_AWAY, GroupCommit

T = TypeVar("T")

READ_THREADS = 4
BUSY_TIMEOUT_MS = 5000
_WRITES = "storage_writes"


class Database:
    """One database, as one process sees it.

    Nothing is opened before the first use, so that a process which only imports the service touches no file.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = _engine(url)
        self._writing = self._engine.execution_options(**{_WRITES: True})
        self._writer: GroupCommit | None = None
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="storage-read")

    async def read(self, question: Callable[[Connection], T]) -> T:
        """What the question returns, asked in a transaction of its own.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, partial(self.ask, question))

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """What the operation returns, once it is committed (see `GroupCommit`).

        Raises:
            StorageUnavailable: the database does not answer; the operation was not done.
        """
        if self._writer is None:
            self._writer = GroupCommit(self._writing)
        # A caller who goes away does not take back what was submitted.
        return await asyncio.shield(asyncio.wrap_future(self._writer.submit(operation)))

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


def _run(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except DATABASE_IS_AWAY as error:
        raise StorageUnavailable(type(error).__name__) from error


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection, _record) -> None:  # type: ignore[no-untyped-def]
    # WAL lets readers go on beside the writer. NORMAL survives the death of the process, which is what is promised.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A write that began as a read could find its snapshot stale; one that begins with the lock cannot.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


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
        raise StorageUnavailable(type(error).__name__) from error
