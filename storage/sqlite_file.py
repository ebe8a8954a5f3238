"""Notices if the file of an SQLite database is removed or replaced while it is open.

SQLite would go on with the file that it has open, so all that is written would be lost with that file, unnoticed.
Source: https://www.sqlite.org/howtocorrupt.html, "Unlinking or renaming a database file while in use"
"""

import errno
import os

from sqlalchemy import make_url


class SqliteFile:
    """The file of an SQLite database, known by its device and inode since the first transaction.

    Args:
        url: the URL of an SQLite database.
    """

    def __init__(self, url: str) -> None:
        name = make_url(url).database
        self._path = name if name and name != ":memory:" else None
        self._first: tuple[int, int] | None = None

    def check(self) -> None:
        """Check that it is still the same file.

        Raises:
            OSError: it is not (`ESTALE`), or that can't be known.
        """
        if self._path is None:
            return
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            now = None
        else:
            now = (found.st_dev, found.st_ino)
        if self._first is None:
            self._first = now
        elif now != self._first:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
