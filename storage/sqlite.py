"""Sets up connections to SQLite, and runs the statements of the hot path on them.

On the hot path, SQLAlchemy compiles each statement once, and Python's `sqlite3` runs it from then on. SQLite takes 5 µs
for such a statement. Running it by SQLAlchemy takes 25 µs more, and three times that after a model has replaced the
contents of the processor's caches.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import Connection, Engine, Executable, PoolProxiedConnection, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import OperationalError

from storage.sqlite_file import SqliteFile

BUSY_TIMEOUT_MS = 5000
CACHE_KIB = 32 * 1024
# WAL: readers and the writer do not block each other. NORMAL: a commit survives a crash of the process, as promised.
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"cache_size=-{CACHE_KIB}")
# Pragmas of connections that wait for a lock.
WAITING = (f"busy_timeout={BUSY_TIMEOUT_MS}",)
# The timeout after a transaction has waited for `BUSY_TIMEOUT_MS` without getting the lock, until one gets it again.
_SHORT_BUSY_TIMEOUT_MS = 250
# Pragmas of connections that wait neither for another process's lock nor for a checkpoint of the write-ahead log.
NON_BLOCKING = ("busy_timeout=0", "wal_autocheckpoint=0")
# The execution option of connections whose transactions take the write lock when they begin.
WRITES = "storage_writes"
# The SQL of each statement of the hot path, and those of its values that are always the same.
_compiled: dict[Executable, tuple[str, dict[str, Any]]] = {}


def sqlite_engine(url: str, pragmas: Sequence[str], file: SqliteFile | None = None) -> Engine:
    """Create an engine that begins transactions explicitly, those with the option `WRITES` by taking the write lock.

    Args:
        url: the URL of the database.
        pragmas: SQLite pragmas of each connection, besides those that all connections have.
        file: checked when each transaction begins, and before SQLite opens or creates the file; None: no check.
    """

    def connect(*_arguments: object) -> None:
        if file is not None:
            file.check()

    def set_up(connection, _record) -> None:  # type: ignore[no-untyped-def]
        connection.isolation_level = None
        for pragma in (*PRAGMAS, *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        if file is not None:
            file.check()
        # A transaction that begins as a read fails at its first write if another process has written meanwhile.
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    engine = create_engine(url)
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


class SqliteTransactions:
    """Write transactions on one connection, which is opened at its first use. Used by one thread.

    In a transaction it replaces SQLAlchemy's connection: it takes the same statements, and returns the same rows.

    Args:
        engine: an SQLite engine of its own, which `close` disposes of.
        busy_timeout_ms: how long a transaction waits for a lock that another program holds; 0: not at all. Must be the
            value that the engine's pragmas set.
        file: checked when each transaction begins; None: no check.
    """

    def __init__(self, engine: Engine, busy_timeout_ms: int, file: SqliteFile | None = None) -> None:
        self.dialect = sqlite.dialect(paramstyle="named")
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self._driver_connection: sqlite3.Connection | None = None
        self._file = file
        self._busy_timeout_ms = busy_timeout_ms
        self._current_busy_timeout_ms = busy_timeout_ms

    @contextmanager
    def begin(self) -> Iterator[Self]:
        """Begin a transaction that holds the write lock. Commit it at the end, or roll it back after an exception.

        Raises:
            OperationalError: another process holds the lock, or the file can't be written. Nothing was changed.
            OSError: the file was removed or replaced.
        """
        try:
            with self._driver() as driver:
                if self._file is not None:
                    self._file.check()
                self._take_write_lock(driver)
                yield self
        except sqlite3.DatabaseError as error:
            # Its other subclasses, such as IntegrityError, are errors of the program.
            if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
                raise
            raise OperationalError(None, None, error) from error

    def _take_write_lock(self, driver: sqlite3.Connection) -> None:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            # The low byte of an extended error code is the primary one (https://www.sqlite.org/rescode.html).
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                self._set_busy_timeout(driver, min(self._busy_timeout_ms, _SHORT_BUSY_TIMEOUT_MS))
            raise
        self._set_busy_timeout(driver, self._busy_timeout_ms)

    def _set_busy_timeout(self, driver: sqlite3.Connection, timeout_ms: int) -> None:
        if timeout_ms != self._current_busy_timeout_ms:
            driver.execute(f"PRAGMA busy_timeout={timeout_ms}")
            self._current_busy_timeout_ms = timeout_ms

    def execute(self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> sqlite3.Cursor:
        """Run a statement.

        Args:
            statement: must be a module's constant, since its compiled SQL is kept for good.
            values: its values; a sequence runs it once for each.
        """
        compiled = _compiled.get(statement)
        if compiled is None:
            compiled = _compiled[statement] = self._compile(statement, values)
        sql, fixed = compiled
        if isinstance(values, Mapping):
            return self._driver().execute(sql, {**fixed, **values})
        return self._driver().executemany(sql, values)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._driver_connection = None
        self._engine.dispose()

    def _driver(self) -> sqlite3.Connection:
        if self._driver_connection is None:
            self._connection = self._engine.raw_connection()
            self._driver_connection = self._connection.driver_connection
            assert self._driver_connection is not None, "it was opened just now"
        return self._driver_connection

    def _compile(
        self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> tuple[str, dict[str, Any]]:
        names = list(values if isinstance(values, Mapping) else values[0])
        compiled = statement.compile(dialect=self.dialect, column_keys=names)  # type: ignore[attr-defined]
        return str(compiled), {name: value for name, value in compiled.params.items() if value is not None}


# The connection that an operation gets: SQLAlchemy's own for PostgreSQL, or its replacement for SQLite.
Transaction = Connection | SqliteTransactions
