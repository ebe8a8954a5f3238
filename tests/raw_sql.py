"""Somebody with a client of the database: SQL through its driver alone, past everything that is ours."""

import sqlite3
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest


class RawSql:
    """A connection to a database, each statement in a transaction of its own."""

    def __init__(self, url: str) -> None:
        if url.startswith("sqlite"):
            self._connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        else:
            self._connection = psycopg.connect(url, autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def change(self, statement: str) -> None:
        self._connection.execute(statement)

    def rows(self, question: str) -> list[Sequence[Any]]:
        return list(self._connection.execute(question).fetchall())

    def assert_refused(self, statement: str, table: str) -> None:
        """The database refuses the statement, and the table is as it was."""
        everything = f"SELECT * FROM {table} ORDER BY id"
        before = self.rows(everything)
        with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError), match=f"{table} is append-only"):
            self.change(statement)
        assert self.rows(everything) == before
