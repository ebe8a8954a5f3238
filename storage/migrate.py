"""Migrates a database to this version's tables. Safe at every start, and from several processes at once."""

from sqlalchemy import Connection, inspect, text

from storage import advisory_locks
from storage.advisory_locks import AdvisoryLock
from storage.database import Database, create_sqlite_file
from storage.errors import Refused
from storage.first_look import SCRIPTS, newest_version
from storage.models import metadata


def migrate(url: str) -> None:
    """Run the missing migrations. Create the file of an SQLite database first if there is none.

    Raises:
        StorageUnavailable: the database does not answer.
        Refused: a later version of this project has migrated the database, or it is another program's.
    """
    create_sqlite_file(url)
    database = Database(url)
    try:
        # One transaction that begins with the write lock: the second of two processes finds nothing left to do.
        database.change(_upgrade)
    finally:
        database.close()


def _upgrade(connection: Connection) -> None:
    advisory_locks.take(connection, AdvisoryLock.MIGRATION)
    if connection.dialect.name == "postgresql":
        # A migration may take longer than the timeout for requests.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    versions = _versions(connection)
    if versions == [newest_version()]:
        return
    if not versions and set(inspect(connection).get_table_names()) & set(metadata.tables):
        raise Refused("The database holds tables of another program; check CLASSIFIER_DATABASE_URL, or make a new one.")
    if not versions and connection.dialect.name == "postgresql":
        _check_encoding(connection)
    # Imported here: it takes a tenth of the start time, and most starts have nothing to migrate.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    # Alembic interpolates %, as configparser does.
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise Refused("The database was written by a later version of this project; upgrade the project.") from None


def _check_encoding(connection: Connection) -> None:
    """Check that a new database can hold every address and name.

    Raises:
        Refused: its encoding lacks alphabets.
    """
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding not in ("UTF8", "SQL_ASCII"):
        raise Refused(
            f"The database is in the encoding {encoding}; make one in UTF-8: "
            "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0."
        )


def _versions(connection: Connection) -> list[str]:
    """Return the versions that Alembic recorded in the database; an empty list if it has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return []
    return [str(version) for (version,) in connection.execute(text("SELECT version_num FROM alembic_version"))]
