"""Bring a database to this version's tables; safe to call at every start, and from several processes at once."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from storage.database import Database, create_sqlite_file
from storage.errors import Refused

# The number of PostgreSQL's advisory lock under which one start at a time migrates; any, as long as it is ours.
MIGRATING = 7_361_002
SCRIPTS = Path(__file__).parent / "migrations"


def migrate(url: str) -> None:
    """Create the database where there is none, and run the migrations it has not seen.

    Raises:
        StorageUnavailable: the database does not answer.
        Refused: the database is of a later version.
    """
    create_sqlite_file(url)
    database = Database(url)
    try:
        # One transaction that begins with the write lock: of two starts at once, the second finds the work done.
        database.change(_upgrade)
    finally:
        database.close()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATING})"))
        # A migration may take longer than a request may wait.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    if _versions(connection) == [_newest()]:
        return
    # Loading it takes a tenth of a start's time, and most starts have nothing to migrate.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    # (Alembic reads % as the start of a name.)
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise Refused("The database was written by a later version of this project; upgrade the project.") from None


def _versions(connection: Connection) -> list[str]:
    """Return what Alembic noted as the database's version; nothing where it has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return []
    return [str(version) for (version,) in connection.execute(text("SELECT version_num FROM alembic_version"))]


def _newest() -> str:
    """Return the newest version, by the names of the migrations' files, which begin with it."""
    return max(path.name for path in (SCRIPTS / "versions").glob("*.py")).split("_")[0]
