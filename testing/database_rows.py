"""Reads what a gateway has written to its SQLite database, and makes a table fail."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any


class DatabaseRows:
    """The rows of one database.

    Attributes:
        database: the file of the database.
    """

    database: Path

    def audit_log(self) -> list[dict[str, Any]]:
        """Return the audit log, the oldest entry first."""
        return self._query("SELECT * FROM audit_log ORDER BY id")

    def usage_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the usage log, the oldest first."""
        return self._query("SELECT * FROM usage_log ORDER BY id")

    def idempotency_keys(self) -> list[dict[str, Any]]:
        """Return the rows of the idempotency keys."""
        return self._query("SELECT * FROM idempotency_keys")

    def outbox(self) -> list[dict[str, Any]]:
        """Return the messages in the outbox, the oldest first."""
        return self._query("SELECT * FROM outbox ORDER BY id")

    def hits(self) -> int:
        """Return how many hits are counted, of all users together."""
        [row] = self._query("SELECT count(*) AS hits FROM hits")
        return int(row["hits"])

    @contextmanager
    def without_table(self, name: str) -> Iterator[None]:
        """Hide a table of the database within this block, so that every statement that needs it fails."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute(f"ALTER TABLE {name} RENAME TO away")
            try:
                yield
            finally:
                connection.execute(f"ALTER TABLE away RENAME TO {name}")

    def _query(self, statement: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.database)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement)]
