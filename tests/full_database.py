"""Fills every table that there is, also those that are added later, and reads all rows of a database."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import Column, Connection, Float, LargeBinary, String, Table, insert
from sqlalchemy.engine import make_url

from storage.database import Database
from storage.models import metadata, usage_log
from tests.raw_sql import RawSql

# Texts whose order depends on the language of a database, and some that programs mistake for the end of a value.
WORDS = ("Ada", "ada", "Zoë", "élan", "ß", "_", "-", "\\N", "a\tb\n", "'\"", "😀", "\\")
FIRST_US = 1_793_491_200_000_000
AT_ONCE = 10_000


def fill(url: str, rows: int, others: int = 60) -> None:
    """Add rows to every table of a database that has the tables of this version.

    Args:
        url: the URL of the database.
        rows: how many rows to add to the usage log.
        others: how many rows to add to each other table.
    """
    database = Database(url)
    for table in metadata.sorted_tables:
        for some in _batches(table, rows if table is usage_log else others, others):
            database.change(partial(Connection.execute, statement=insert(table), parameters=some))
    database.close()


def _batches(table: Table, number: int, others: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, number, AT_ONCE):
        indexes = range(start, min(number, start + AT_ONCE))
        yield [{column.name: _value(column, index, others) for column in table.columns} for index in indexes]


def _value(column: Column[Any], index: int, others: int) -> Any:
    if column.foreign_keys:
        [reference] = column.foreign_keys
        return _value(reference.column, index % others, others)
    if column.nullable and index % 3 == 0:
        return None
    texts = {LargeBinary: bytes(range(index % 256)), Float: index / 7}
    if type(column.type) in texts:
        return texts[type(column.type)]
    if isinstance(column.type, String):
        return f"{WORDS[index % len(WORDS)]}{index}"[: column.type.length]
    if column.primary_key and column.table.autoincrement_column is column:
        # Rows that were pruned leave gaps.
        return index * 2 + 1
    return FIRST_US + index if column.name.endswith("_us") else index


def contents(url: str) -> dict[str, list[str]]:
    """Return all rows of all tables as text, in an order that is the same on every database."""
    with RawSql(url) as raw:
        return {
            table.name: sorted(
                repr(tuple(bytes(value) if isinstance(value, memoryview) else value for value in row))
                for row in raw.rows(f"SELECT {', '.join(column.name for column in table.columns)} FROM {table.name}")
            )
            for table in metadata.sorted_tables
        }


def tables_of(url: str) -> set[str]:
    """Return the names of the tables that an SQLite database really has, but for that of the migrations."""
    assert make_url(url).get_backend_name() == "sqlite"
    with RawSql(url) as raw:
        found = {name for (name,) in raw.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return found - {"alembic_version"}
