"""The logs that the database itself keeps from being rewritten: triggers refuse to change a row, or to delete one.

The ledger alone may grow shorter, by `python -m auth prune`. The triggers are made by migration 0003.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

_find = text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'usage_log_no_delete'")


@contextmanager
def deletable_ledger(connection: Connection) -> Iterator[None]:
    """Within this block, and this transaction alone, rows of the ledger may be deleted."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL classifier.pruning = 'on'"))
        yield
        connection.execute(text("SET LOCAL classifier.pruning = 'off'"))
    else:
        # SQLite takes a change of its tables back with the transaction, and nobody else sees it before the commit.
        trigger = connection.scalar(_find)
        connection.execute(text("DROP TRIGGER usage_log_no_delete"))
        yield
        connection.exec_driver_sql(trigger)
