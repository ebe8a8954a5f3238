"""Copies the whole SQLite database while the service runs: users, keys, hits, the usage log and the audit log."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import make_url

from storage import faults
from storage.errors import Refused


def backup(url: str, path: Path) -> int:
    """Copy an SQLite database to a new file that only its owner can read.

    The copy is a consistent snapshot (SQLite's `VACUUM INTO`), even if the database is written meanwhile.

    Returns:
        The size of the copy in bytes.

    Raises:
        Refused: the file exists already or can't be written, its disk is full, or the database is PostgreSQL, which has
            its own tools.
        StorageUnavailable: the database can't be read.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise Refused("A PostgreSQL database is backed up by its own tools: pg_dump --format=custom --file=FILE.")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise Refused("There is a file of that name already; name a new one.") from None
    except OSError as error:
        raise Refused(f"The file can't be written: {error.strerror}.") from None
    try:
        connection = sqlite3.connect(f"file:{quote(parsed.database or '')}?mode=ro", uri=True)
        try:
            connection.execute("VACUUM INTO ?", (str(path),))
        finally:
            connection.close()
    except sqlite3.Error as error:
        path.unlink()
        if faults.of(error) is faults.FULL:
            raise Refused(
                "The copy can't be written: the disk that it goes to is full; free some space there."
            ) from None
        raise faults.sqlite_error(error) from error
    return path.stat().st_size
