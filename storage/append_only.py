"""The usage log and the audit log are append-only: database triggers refuse to change or delete a row.

Only `python -m auth prune` may delete rows, and only of the usage log. Migration 0003 makes the triggers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

_select_trigger = text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'usage_log_no_delete'")


@contextmanager
def usage_log_deletable(connection: Connection) -> Iterator[None]:
    """Allows deleting rows of the usage log in this block, and in this transaction only."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL classifier.pruning = 'on'"))
        yield
        connection.execute(text("SET LOCAL classifier.pruning = 'off'"))
    else:
        # SQLite rolls schema changes back with the transaction, and other connections see them only after its commit.
        trigger = connection.scalar(_select_trigger)
        connection.execute(text("DROP TRIGGER usage_log_no_delete"))
        yield
        connection.exec_driver_sql(trigger)
