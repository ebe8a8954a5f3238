"""Makes INSERT statements that say what to do on a conflict. SQLAlchemy has such statements for each dialect only."""

from importlib import import_module
from typing import Any

from sqlalchemy import Table


def insert_into(table: Table, dialect: str) -> Any:
    """Return an INSERT with the methods `on_conflict_do_update` and `on_conflict_do_nothing`.

    Loads only the dialect of this database.

    Args:
        table: the table.
        dialect: the name of the dialect, `sqlite` or `postgresql`.
    """
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
