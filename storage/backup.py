"""A copy of the whole database while it serves: users, keys, hits, the ledger and the audit log."""

import os
import sqlite3
from pathlib import Path

from sqlalchemy import make_url

from storage import faults
from storage.errors import Refused


def backup(url: str, path: Path) -> int:
    """Write the database of an SQLite URL to a new file, readable by its owner alone; its size in bytes.

    The copy is one moment of the database (SQLite's `VACUUM INTO`), whatever is written meanwhile.

    Raises:
        Refused: the file is there already or can't be written, or the database is a server, which has tools of its own.
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
        connection = sqlite3.connect(f"file:{parsed.database}?mode=ro", uri=True)
        try:
            connection.execute("VACUUM INTO ?", (str(path),))
        finally:
            connection.close()
    except sqlite3.Error as error:
        path.unlink()
        raise (faults.of(error) or faults.FAILING).error() from error
    return path.stat().st_size
