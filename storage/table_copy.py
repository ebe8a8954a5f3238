"""Makes a table of PostgreSQL equal to the same table of another database: adds, changes and deletes what differs.

Both tables are read once, in the order of their primary keys, and compared row by row, as two sorted lists are merged.
So it does not matter how much of the table is there already, and memory does not grow with the table.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, String, Table, bindparam, delete, select, update
from sqlalchemy.exc import DBAPIError, OperationalError

from storage.append_only import audit_log_changeable, usage_log_deletable
from storage.errors import Refused
from storage.models import audit_log, usage_log, users

# Rows that are read, and written in one transaction, at a time.
ROWS_AT_ONCE = 5_000

Row = tuple[Any, ...]


class Difference(NamedTuple):
    """A row that is not the same in both tables; None: the table has no row of that key."""

    wanted: Row | None
    present: Row | None


class Contents(NamedTuple):
    """What a table holds: the number of rows, and a SHA-256 over all of them, which is the same on every database."""

    rows: int
    sha256: str


def rows(connection: Connection, table: Table) -> Iterator[Row]:
    """Yield all rows in the order of the primary key; texts in the order of their bytes, on every database."""
    is_postgresql = connection.dialect.name == "postgresql"
    order = [
        column.collate("C") if is_postgresql and isinstance(column.type, String) else column
        for column in table.primary_key
    ]
    found = connection.execute(select(table).order_by(*order), execution_options={"yield_per": ROWS_AT_ONCE})
    return map(tuple, found)


class Counted:
    """Yields rows, and computes their number and digest on the way.

    Args:
        rows: the rows.
        progress: called with the number of rows that are read, at the start and every few thousand.
    """

    def __init__(self, rows: Iterator[Row], progress: Callable[[int], None]) -> None:
        self._rows = rows
        self._progress = progress
        self._digest = hashlib.sha256()
        self._number = 0

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows."""
        for row in self._rows:
            if self._number % ROWS_AT_ONCE == 0:
                self._progress(self._number)
            self._number += 1
            self._digest.update(repr(row).encode())
            yield row

    @property
    def contents(self) -> Contents:
        """The number of rows that were read, and the digest of the text that Python writes for them."""
        return Contents(self._number, self._digest.hexdigest())


def differences(table: Table, wanted: Iterator[Row], present: Iterator[Row]) -> Iterator[Difference]:
    """Yield what differs between the rows of two tables, both in the order of the primary key."""
    key = itemgetter(*(list(table.columns).index(column) for column in table.primary_key))
    one, other = next(wanted, None), next(present, None)
    while one is not None or other is not None:
        if one == other:
            one, other = next(wanted, None), next(present, None)
        elif other is None or (one is not None and key(one) < key(other)):
            yield Difference(one, None)
            one = next(wanted, None)
        elif one is None or key(other) < key(one):
            yield Difference(None, other)
            other = next(present, None)
        else:
            yield Difference(one, other)
            one, other = next(wanted, None), next(present, None)


def free_addresses(connection: Connection, found: Iterable[Difference]) -> None:
    """Replace the addresses of users that changed: two users may have exchanged theirs, and no two may have the same.

    Args:
        connection: in a write transaction of PostgreSQL.
        found: what differs between the tables of users; `write` gives them their addresses afterwards.
    """
    changed = [one for one in found if one.wanted is not None and one.present is not None]
    if changed:
        of_id = update(users).where(users.c.id == bindparam("of_id")).values(email=users.c.id)
        connection.execute(of_id, [{"of_id": _values(users, one.wanted)["id"]} for one in changed])


def write(begin: Callable[[], AbstractContextManager[Connection]], table: Table, found: Iterator[Difference]) -> int:
    """Make the table equal, a few thousand differences in each transaction. Return how many there were.

    Args:
        begin: begins a write transaction of PostgreSQL.
        table: the table.
        found: what differs.

    Raises:
        Refused: a row can't be stored in PostgreSQL, or a log differs where logs never do.
    """
    number = 0
    while batch := list(islice(found, ROWS_AT_ONCE)):
        with begin() as connection:
            _delete(connection, table, [one.present for one in batch if one.wanted is None])
            _update(connection, table, [one.wanted for one in batch if one.wanted is not None and one.present])
            _copy(connection, table, [one.wanted for one in batch if one.present is None])
        number += len(batch)
    return number


def _delete(connection: Connection, table: Table, gone: Sequence[Row | None]) -> None:
    if not gone:
        return
    if table is audit_log:
        raise Refused(_other_log(table))
    # The rows that `prune` has deleted since.
    allowed = usage_log_deletable(connection) if table is usage_log else nullcontext()
    with allowed:
        connection.execute(delete(table).where(*_is_of_key(table)), [_values(table, row, "key_of_") for row in gone])


def _update(connection: Connection, table: Table, changed: Sequence[Row | None]) -> None:
    if not changed:
        return
    if table is usage_log:
        raise Refused(_other_log(table))
    allowed = audit_log_changeable(connection) if table is audit_log else nullcontext()
    others: dict[str, Any] = {
        column.name: bindparam(f"key_of_{column.name}") for column in table.columns if not column.primary_key
    }
    with allowed:
        connection.execute(
            update(table).where(*_is_of_key(table)).values(others),
            [_values(table, row, "key_of_") for row in changed],
        )


def _copy(connection: Connection, table: Table, new: Sequence[Row | None]) -> None:
    """Add rows by COPY, which takes a fraction of the time of INSERT."""
    if not new:
        return
    # Imported here, since most processes have no PostgreSQL.
    import psycopg

    quote = connection.dialect.identifier_preparer
    columns = ", ".join(quote.format_column(column) for column in table.columns)
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(f"COPY {quote.format_table(table)} ({columns}) FROM STDIN") as copy:
            for row in new:
                copy.write_row(row)
    except psycopg.DataError:
        raise Refused(f"PostgreSQL can't store a row of the table {table.name}; no row after it is moved.") from None
    except psycopg.IntegrityError:
        raise Refused(_other_log(table)) from None
    except psycopg.OperationalError as error:
        raise OperationalError(None, None, error) from error
    except psycopg.Error as error:
        raise DBAPIError(None, None, error) from error


def _other_log(table: Table) -> str:
    return (
        f"The new database has rows in the table {table.name} that the old one never had; name an empty database, or "
        "delete the new one and create it again."
    )


def _is_of_key(table: Table) -> list[Any]:
    return [column == bindparam(f"key_of_{column.name}") for column in table.primary_key]


def _values(table: Table, row: Row | None, prefix: str = "") -> dict[str, Any]:
    assert row is not None
    return {f"{prefix}{column.name}": value for column, value in zip(table.columns, row, strict=True)}
