"""Looks whether an SQLite database is ready and has a user, without SQLAlchemy: most starts need to know no more.

To load SQLAlchemy and what lies on it takes a quarter of the processor time that a start needs before its workers.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from storage import urls

SCRIPTS = Path(__file__).parent / "migrations"


def has_user(url: str) -> bool | None:
    """Tell whether a database that can be written and has the newest tables has a user.

    Returns:
        None: the tables are to be created or migrated, or it can't be seen here; so for every PostgreSQL.
    """
    path = urls.sqlite_path(url)
    if path is None or not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            # Fails where the file can't be written, as the start's first change would.
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(newest_version(),)]:
                return None
            return connection.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return None


def newest_version() -> str:
    """Return the newest version of the tables. The names of the migration files begin with their version."""
    return max(path.name for path in (SCRIPTS / "versions").glob("*.py")).split("_")[0]
