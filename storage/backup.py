"""Copies the whole SQLite database while the service runs: users, keys, hits, the usage log and the audit log."""

import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import make_url

from storage import faults
from storage.errors import Refused
from storage.new_file import new_file


def backup(url: str, path: Path) -> int:
    """Copy an SQLite database to a new file that only its owner can read.

    The copy is a consistent snapshot (SQLite's `VACUUM INTO`), even if the database is written meanwhile. It has its
    name only once it is whole.

    Returns:
        The size of the copy in bytes.

    Raises:
        Refused: the file exists already or can't be written, its disk is full, or the database is PostgreSQL, which has
            its own tools.
        StorageUnavailable: the database can't be read.
    """
    if make_url(url).get_backend_name() != "sqlite":
        raise Refused("A PostgreSQL database is backed up by its own tools: pg_dump --format=custom --file=FILE.")
    try:
        with new_file(path) as writing:
            copy(url, writing)
            return writing.stat().st_size
    except FileExistsError:
        raise Refused("There is a file of that name already; name a new one.") from None
    except OSError as error:
        raise Refused(f"The file can't be written: {error.strerror}.") from None


def copy(url: str, path: Path) -> None:
    """Copy an SQLite database to an empty file, which is removed if that fails.

    Raises:
        Refused: the disk is full.
        StorageUnavailable: the database can't be read.
    """
    try:
        connection = sqlite3.connect(f"file:{quote(make_url(url).database or '')}?mode=ro", uri=True)
        try:
            connection.execute("VACUUM INTO ?", (str(path),))
        finally:
            connection.close()
    except sqlite3.Error as error:
        path.unlink(missing_ok=True)
        if faults.of(error) is faults.FULL:
            raise Refused(
                "The copy can't be written: the disk that it goes to is full; free some space there."
            ) from None
        raise faults.sqlite_error(error) from error
