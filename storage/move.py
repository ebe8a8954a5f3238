"""Moves everything from an SQLite database to a PostgreSQL one, also while a server writes to the first.

The SQLite database is read in one snapshot, and the tables in such an order that a row comes after those that it refers
to. If rows came in since, the next snapshot is compared with what is there already, and only what differs is written.
The same happens when a move that was killed is started again.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Engine, Table, func, inspect, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from storage import advisory_locks, faults, postgresql, table_copy
from storage.advisory_locks import AdvisoryLock
from storage.clock import unix_us
from storage.database import Database
from storage.errors import Refused, StorageUnavailable
from storage.migrate import migrate
from storage.models import audit_log, metadata, usage_log, users
from storage.sqlite import WAITING, sqlite_engine
from storage.sqlite_watch import SqliteWatch
from storage.table_copy import Contents, Counted, Difference

# The most snapshots that are read because rows came in meanwhile: a busy server always writes some.
MOST_SNAPSHOTS = 2
LOCK_NOT_AVAILABLE = "55P03"
_HOLDS_OTHER_DATA = "The new database holds other data than this one; name an empty database."

# What is done ("copying" or "comparing"), with which table, and how many of its rows are read.
Progress = Callable[[str, str, int], None]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move has done.

    Attributes:
        at_us: the time of the snapshot that the new database equals, Unix microseconds.
        tables: what each table holds, in both databases alike.
        is_left_alone: whether nothing was written to the old database since then, and no other program has it open.
    """

    at_us: int
    tables: dict[str, Contents]
    is_left_alone: bool


def move(source: str, target: str, progress: Progress) -> Moved:
    """Make the database `target` equal to `source`, and compare all rows.

    Args:
        source: the URL of an SQLite database with this version's tables.
        target: the URL of an empty PostgreSQL database, or of one that a move has begun to fill; it is migrated.
        progress: called again and again while rows are read.

    Raises:
        Refused: `source` is no SQLite database, or `target` holds other data, belongs to another version, or is being
            filled by another move.
        StorageUnavailable: one of the databases does not answer. What was moved stays.
    """
    if make_url(source).get_backend_name() != "sqlite":
        raise Refused("Only an SQLite database is moved; copy PostgreSQL by its own tools, pg_dump and pg_restore.")
    try:
        _migrate(target)
    except StorageUnavailable as error:
        raise _of_target(error) from None
    try:
        return _move(source, postgresql.engine(make_url(target), 2), progress)
    except SQLAlchemyError as error:
        fault = faults.of(error)
        if fault is None:
            raise
        is_source = isinstance(getattr(error, "orig", error), sqlite3.Error)
        raise fault.error() if is_source else _of_target(fault.error()) from error


def _of_target(error: StorageUnavailable) -> StorageUnavailable:
    """Return the error of the new database, which no setting of the server names."""
    said = str(error).replace("The database", "The new database", 1).replace(faults.SETTING, "the URL to move to")
    return StorageUnavailable(said, error.caller)


def _migrate(target: str) -> None:
    database = Database(target)
    try:
        tables = database.ask(lambda connection: inspect(connection).get_table_names())
    finally:
        database.close()
    if tables and "alembic_version" not in tables:
        raise Refused(_HOLDS_OTHER_DATA)
    migrate(target)


def _move(source: str, target: Engine, progress: Progress) -> Moved:
    engine = sqlite_engine(source, WAITING)
    with engine.connect():
        # Chooses the mode of the write-ahead log, which counts as a change if the last program left it.
        watch = SqliteWatch(source)
    try:
        for _ in range(MOST_SNAPSHOTS):
            with engine.begin() as old:
                at_us, tables = unix_us(), _make_equal(old, target, progress)
            has_changed = watch.has_changed()
            if not has_changed:
                break
        engine.dispose()
        is_in_use = has_changed or watch.is_open_elsewhere() or watch.has_changed()
        return Moved(at_us, tables, not is_in_use)
    finally:
        watch.close()
        engine.dispose()
        target.dispose()


def _make_equal(old: Connection, target: Engine, progress: Progress) -> dict[str, Contents]:
    """Make all tables equal to those of the snapshot `old`. Return what they hold in both.

    Each row of both is compared. Where something was written, all rows of that table are read from `target` once more.
    """
    writing = partial(_transaction, target)
    held, written = {}, []
    with _transaction(target, is_only_move=True) as new:
        _check_logs(old, new)
        with writing() as connection:
            table_copy.free_addresses(connection, _changed_users(old, new))
        for table in metadata.sorted_tables:
            wanted = Counted(table_copy.rows(old, table), partial(progress, "copying", table.name))
            found = table_copy.differences(table, iter(wanted), table_copy.rows(new, table))
            if table_copy.write(writing, table, found):
                written.append(table)
            held[table.name] = wanted.contents
    with _transaction(target, is_only_move=True) as new:
        for table in written:
            _compare(table, held[table.name], new, progress)
        for table in metadata.sorted_tables:
            _number_new_rows(table, new)
    return held


@contextmanager
def _transaction(target: Engine, is_only_move: bool = False) -> Iterator[Connection]:
    """Begin a transaction without the timeouts for requests.

    Raises:
        Refused: `is_only_move` is true, and another move has such a transaction.
    """
    with target.begin() as connection:
        # Tables are read as a whole here, so no index need be used.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on")
        if is_only_move:
            _lock(connection)
        yield connection


def _lock(connection: Connection) -> None:
    # PostgreSQL may notice late that another move was killed, and then ends its transaction: this waits for
    # lock_timeout.
    try:
        advisory_locks.take(connection, AdvisoryLock.MOVE)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise Refused("Another move to the new database is under way; wait for it.") from None


def _check_logs(old: Connection, new: Connection) -> None:
    """Check that the newest row of each log of the new database was copied from the old one.

    Raises:
        Refused: the new database has served since, or holds other data.
    """
    for table in (usage_log, audit_log):
        newest = new.execute(select(table).order_by(table.c.id.desc()).limit(1)).first()
        if newest is None:
            continue
        same = old.execute(select(table).where(table.c.id == newest.id)).first()
        if same is None:
            last_id = old.scalar(select(func.max(table.c.id))) or 0
            is_known = table is usage_log and newest.id < last_id  # deleted by `prune`
        else:
            # The audit log's other columns may be erased.
            is_known = (same.at_us, same.user_id, same.key_id) == (newest.at_us, newest.user_id, newest.key_id)
        if not is_known:
            raise Refused(_HOLDS_OTHER_DATA)


def _changed_users(old: Connection, new: Connection) -> Iterator[Difference]:
    """Yield the users that are not the same in both databases.

    Raises:
        Refused: the new database has a user that the old one does not have; no user is ever deleted.
    """
    for difference in table_copy.differences(users, table_copy.rows(old, users), table_copy.rows(new, users)):
        if difference.wanted is None:
            raise Refused(_HOLDS_OTHER_DATA)
        yield difference


def _compare(table: Table, wanted: Contents, new: Connection, progress: Progress) -> None:
    """Check that a table of the new database holds the same rows as that of the old one.

    Raises:
        Refused: it does not.
    """
    present = Counted(table_copy.rows(new, table), partial(progress, "comparing", table.name))
    for _ in present:
        pass
    if present.contents != wanted:
        raise Refused(
            f"The table {table.name} differs after it was copied: another program writes to the new database."
        )


def _number_new_rows(table: Table, new: Connection) -> None:
    """Let PostgreSQL number new rows after those that the table holds."""
    serial = table.autoincrement_column
    if serial is not None:
        sequence = func.pg_get_serial_sequence(table.name, serial.name)
        last = select(func.max(serial)).scalar_subquery()
        new.execute(select(func.setval(sequence, func.coalesce(last, 1), last.is_not(None))))
