"""SQLite: how its connections are set up, and how the changes of the hot path are made to it.

SQLAlchemy writes each statement once, and Python's own driver runs it ever after. SQLite takes 5 µs for one of these,
and SQLAlchemy's execution of it 25 more: three times that where a model has just emptied the processor's caches.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import Connection, Engine, Executable, PoolProxiedConnection, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import OperationalError

BUSY_TIMEOUT_MS = 5000
CACHE_KIB = 32 * 1024
# WAL lets readers go on beside the writer. NORMAL survives the death of the process, which is what is promised.
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"cache_size=-{CACHE_KIB}")
WAITING = (f"busy_timeout={BUSY_TIMEOUT_MS}",)
# Once another program has held the lock for so long, nobody is kept waiting as long again.
_IMPATIENT_MS = 250
# For who must not be kept waiting: neither by another process's lock nor by a checkpoint of the write-ahead log.
NON_BLOCKING = ("busy_timeout=0", "wal_autocheckpoint=0")
WRITES = "storage_writes"


def sqlite_engine(url: str, pragmas: Sequence[str]) -> Engine:
    """An engine whose connections begin transactions themselves; those with the option `WRITES` take the lock first."""

    def set_up(connection, _record) -> None:  # type: ignore[no-untyped-def]
        connection.isolation_level = None
        for pragma in (*_PRAGMAS, *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    engine = create_engine(url)
    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    # A write that began as a read could find its snapshot stale; one that begins with the lock cannot.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class SqliteTransactions:
    """One connection that makes changes, used by one thread, and opened when that first needs it.

    Inside of a transaction it stands in for SQLAlchemy's connection: the same statements, the same rows.

    Args:
        engine: of SQLite; the connection is one of its own.
        waits_ms: how long it waits for a lock that another program holds.
    """

    def __init__(self, engine: Engine, waits_ms: int) -> None:
        self.dialect = sqlite.dialect(paramstyle="named")
        self._engine = engine
        self._lent: PoolProxiedConnection | None = None
        self._waits_ms = waits_ms
        self._is_locked = False
        # Of each statement, its SQL and the values that are always the same.
        self._written: dict[Executable, tuple[str, dict[str, Any]]] = {}

    @contextmanager
    def begin(self) -> Iterator[Self]:
        """A transaction that holds the write lock; committed at the end, or rolled back where anything is raised.

        Raises:
            OperationalError: another process holds the lock, or the file can't be written; nothing was changed.
        """
        try:
            with self._driver() as driver:
                self._lock(driver)
                yield self
        except sqlite3.DatabaseError as error:
            # (Others of its kind are errors of the program.)
            if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
                raise
            raise OperationalError(None, None, error) from error

    def _lock(self, driver: sqlite3.Connection) -> None:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY and not self._is_locked and self._waits_ms:
                self._is_locked = True
                driver.execute(f"PRAGMA busy_timeout={_IMPATIENT_MS}")
            raise
        if self._is_locked:
            self._is_locked = False
            driver.execute(f"PRAGMA busy_timeout={self._waits_ms}")

    def execute(self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> sqlite3.Cursor:
        """Run a statement, which must be one of a few that are made once; a sequence of values runs it for each."""
        written = self._written.get(statement)
        if written is None:
            written = self._written[statement] = self._write(statement, values)
        sql, fixed = written
        if isinstance(values, Mapping):
            return self._driver().execute(sql, {**fixed, **values})
        return self._driver().executemany(sql, values)

    def close(self) -> None:
        """Let go of the connection."""
        if self._lent is not None:
            self._lent.close()
            self._lent = None
        self._engine.dispose()

    def _driver(self) -> sqlite3.Connection:
        if self._lent is None:
            self._lent = self._engine.raw_connection()
        driver: sqlite3.Connection = self._lent.driver_connection  # type: ignore[assignment]
        return driver

    def _write(
        self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> tuple[str, dict[str, Any]]:
        names = list(values if isinstance(values, Mapping) else values[0])
        compiled = statement.compile(dialect=self.dialect, column_keys=names)  # type: ignore[attr-defined]
        return str(compiled), {name: value for name, value in compiled.params.items() if value is not None}


# What changes are made on: SQLAlchemy's own connection, or SQLite's in its stead.
Transaction = Connection | SqliteTransactions
