"""Tells whether other programs write to an SQLite database, or have it open."""

import sqlite3
from urllib.parse import quote

from sqlalchemy import make_url

from storage import faults


class SqliteWatch:
    """Watches a database from the moment of its creation on.

    Args:
        url: the URL of a database whose file exists.

    Raises:
        StorageUnavailable: the database can't be read.
    """

    def __init__(self, url: str) -> None:
        path = quote(make_url(url).database or "")
        self._connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, timeout=0)
        self._version = self._data_version()

    def has_changed(self) -> bool:
        """Return whether another connection has committed a change since the last call, or since the creation.

        Source: https://www.sqlite.org/pragma.html#pragma_data_version
        """
        before, self._version = self._version, self._data_version()
        return before != self._version

    def is_open_elsewhere(self) -> bool:
        """Return whether another connection is open, even an idle one. If not, merge the write-ahead log into the file.

        SQLite leaves the mode of the write-ahead log only while nobody else has the database open. All our connections
        choose that mode when they are opened.

        Source: https://www.sqlite.org/wal.html, "Activating and configuring WAL mode"
        """
        try:
            self._connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return True
            raise faults.sqlite_error(error) from error
        return False

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _data_version(self) -> int:
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise faults.sqlite_error(error) from error
