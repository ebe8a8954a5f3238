"""The usage log and the audit log are append-only: database triggers refuse to change or delete a row.

There are two exceptions. `python -m auth prune` deletes rows of the usage log, and `python -m auth erase` removes a
user's personal data from rows of the audit log. The migrations 0003 and 0004 make the triggers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

_select_trigger = text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = :name")


@contextmanager
def usage_log_deletable(connection: Connection) -> Iterator[None]:
    """Allow deleting rows of the usage log in this block, and in this transaction only."""
    with _lifted(connection, "usage_log_no_delete", "classifier.pruning"):
        yield


@contextmanager
def audit_log_changeable(connection: Connection) -> Iterator[None]:
    """Allow updating rows of the audit log in this block, and in this transaction only."""
    with _lifted(connection, "audit_log_no_update", "classifier.erasing"):
        yield


@contextmanager
def _lifted(connection: Connection, trigger: str, parameter: str) -> Iterator[None]:
    """Lift a trigger of SQLite, or set the parameter that PostgreSQL's triggers read."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL {parameter} = 'on'"))
        yield
        connection.execute(text(f"SET LOCAL {parameter} = 'off'"))
    else:
        # SQLite rolls schema changes back with the transaction, and other connections see them only after its commit.
        made_by = connection.scalar(_select_trigger, {"name": trigger})
        connection.execute(text(f"DROP TRIGGER {trigger}"))
        yield
        connection.exec_driver_sql(made_by)
