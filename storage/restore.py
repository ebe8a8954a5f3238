"""Puts a backup of an SQLite database in its place, without making valid again what was revoked since."""

import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, func, inspect, make_url, select

from storage import audit, faults, revocations
from storage.audit import Entry
from storage.backup import copy as copy_database
from storage.clock import unix_us
from storage.database import Database
from storage.errors import Refused, StorageError, StorageUnavailable
from storage.migrate import migrate
from storage.models import audit_log, usage_log
from storage.revocations import Ended, Revocations, is_there
from storage.sqlite_watch import SqliteWatch

_IN_USE = "A server has the database open; stop all servers first."


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of a backup beside the database, with this version's tables, until `put_in_place`.

    Attributes:
        path: the copy.
        newest_us: the time of the newest row of the logs in the backup, Unix microseconds; None: the logs are empty.
    """

    path: Path
    newest_us: int | None

    @property
    def url(self) -> str:
        """The URL of the copy."""
        return f"sqlite:///{self.path}"


def copied(url: str, file: Path) -> Backup:
    """Copy a backup to a new file beside the database, and migrate the copy.

    Args:
        url: the URL of the SQLite database that it is going to replace.
        file: the backup.

    Raises:
        Refused: the database is PostgreSQL, a server has it open, or the file is no backup that can be restored.
    """
    if make_url(url).get_backend_name() != "sqlite":
        raise Refused(
            "A PostgreSQL database is restored by its own tools, such as pg_restore; afterwards, 'python -m auth "
            "revoke-again FILE' ends what was revoked since."
        )
    if not (is_there(file) and file.is_file()):
        raise Refused(f"There is no file {file}.")
    path = _path(url)
    _refuse_if_open(url)
    copy = path.with_name(f"{path.name}.restoring")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy.unlink(missing_ok=True)
        copy.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise Refused(f"The backup can't be copied beside the database: {error.strerror}.") from None
    try:
        copy_database(f"sqlite:///{file}", copy)
        with closing(Database(f"sqlite:///{copy}")) as database:
            tables = database.ask(lambda connection: inspect(connection).get_table_names())
    except StorageUnavailable as error:
        # If the disk is full or fails, the backup may still be good.
        if str(error) in (faults.FULL.operator, faults.FAILING.operator):
            raise
        raise Refused(f"The file {file} is no SQLite database, or is damaged; restore another backup.") from None
    if "alembic_version" not in tables:
        copy.unlink()
        raise Refused(f"The file {file} is no backup of this service.")
    migrate(f"sqlite:///{copy}")
    with closing(Database(f"sqlite:///{copy}")) as database:
        return Backup(copy, database.ask(_newest_us))


def known_since(url: str, copy: Backup) -> Revocations | None:
    """Return what has ended in the current database; None if it can't be read, or the backup is not one of it."""
    path = _path(url)
    if not path.exists():
        return None
    with closing(Database(copy.url)) as database:
        last = database.ask(_last_change)
    with closing(Database(url)) as database:
        try:
            return database.ask(lambda connection: _read_if_later(connection, last))
        except StorageError:
            return None


def _read_if_later(connection: Connection, last: tuple[int, int] | None) -> Revocations | None:
    """Return what has ended, if the audit log has the last row of the backup's audit log; None if not.

    Rows are only ever added to an audit log. So with that row, this database is a later state of the backup.
    """
    if last is not None:
        of_id = select(audit_log.c.at_us).where(audit_log.c.id == last[0])
        if connection.scalar(of_id) != last[1]:
            return None
    return revocations.read(connection)


def _last_change(connection: Connection) -> tuple[int, int] | None:
    newest = select(audit_log.c.id, audit_log.c.at_us).order_by(audit_log.c.id.desc()).limit(1)
    row = connection.execute(newest).first()
    return None if row is None else (row.id, row.at_us)


def put_in_place(url: str, copy: Backup, lists: list[Revocations], revokes_all: bool, actor: str) -> tuple[Ended, Path]:
    """End in the copy what the lists name, and put it where the database was, which is kept under another name.

    Args:
        url: the URL of the database.
        copy: the copy of the backup.
        lists: what has ended.
        revokes_all: whether to revoke every key.
        actor: who restores, for the audit log.

    Returns:
        What was ended, and the path under which the database is kept that was there before, if there was one.

    Raises:
        Refused: a server has the database open, or files can't be renamed.
    """

    def end(connection: Connection) -> Ended:
        ended = [revocations.revoke_again(connection, known, actor) for known in lists]
        if revokes_all:
            ended.append(revocations.revoke_all(connection, actor))
        total = Ended(sum(one.keys for one in ended), sum(one.users for one in ended))
        detail = {"keys": total.keys, "users": total.users, "revoked_all_keys": revokes_all}
        audit.record(connection, Entry(unix_us(), actor, "restore", None, None, detail))
        return total

    with closing(Database(copy.url)) as database:
        total = database.change(end)
    # Merges the write-ahead log into the file, which is then the whole database.
    _refuse_if_open(copy.url)
    _refuse_if_open(url)
    path = _path(url)
    kept = path.with_name(f"{path.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    try:
        _keep(path, kept)
        os.replace(copy.path, path)
    except OSError as error:
        raise Refused(f"The database can't be replaced: {error.strerror}.") from None
    return total, kept


def _keep(path: Path, kept: Path) -> None:
    """Give the database a second name, so that there is one at its path also if this process is killed.

    What a killed run has kept is the same file; it is forgotten, since SQLite must not open a file under two names.

    Raises:
        OSError: the file system refuses.
    """
    if not path.exists():
        return
    files = _files(path)
    for earlier in path.parent.glob(f"{path.name}.before-restore-*"):
        if any(earlier.samefile(file) for file in files):
            earlier.unlink()
    for file in files:
        again = kept.with_name(file.name.replace(path.name, kept.name, 1))
        try:
            os.link(file, again)
        except FileExistsError:
            raise
        except OSError:
            # Not every file system has links.
            shutil.copy2(file, again)
    for log in files[1:]:
        # Without a log of its own, SQLite would apply this one to the backup.
        log.unlink()


def _files(path: Path) -> list[Path]:
    """Return the file of a database, and those of its write-ahead log if it could not be merged."""
    return [file for ending in ("", "-wal", "-shm") if (file := path.with_name(path.name + ending)).exists()]


def _refuse_if_open(url: str) -> None:
    """Refuse to go on if another program has the database open. A database that can't be read counts as not open."""
    if not is_there(_path(url)):
        return
    try:
        with closing(SqliteWatch(url)) as watch:
            is_open = watch.is_open_elsewhere()
    except StorageUnavailable:
        return
    if is_open:
        raise Refused(_IN_USE)


def _newest_us(connection: Connection) -> int | None:
    times = [connection.scalar(select(func.max(table.c.at_us))) for table in (audit_log, usage_log)]
    return max((at_us for at_us in times if at_us is not None), default=None)


def _path(url: str) -> Path:
    return Path(make_url(url).database or "").resolve()
