"""The commands about the database as a whole: backing it up, migrating it, and moving it to PostgreSQL."""

from pathlib import Path

from auth.cli.answer import Answer, Context
from auth.cli.progress import Progress
from storage import urls
from storage.backup import backup as write_backup
from storage.clock import iso
from storage.errors import Refused


def report_migrated(_context: Context) -> Answer:
    """Do nothing: `main` migrates the database before each command."""
    return Answer({"migrated": True}, "The database has this version's tables.")


def backup(context: Context, *, file: Path) -> Answer:
    """Copy an SQLite database to a new file."""
    size = write_backup(context.database.url, file)
    return Answer({"file": str(file), "bytes": size}, f"{file} holds the whole database, {size:,} bytes.")


def move(context: Context, *, to: str | None) -> Answer:
    """Copy everything to the PostgreSQL database `to`, compare it, and say whether the servers may start with it.

    Raises:
        Refused: see `storage.move`; or the old database was written to since, or another program has it open.
    """
    # Imported here: only this command needs it.
    from storage.move import move as move_all

    target = to or context.settings.move_to_url
    if target is None:
        raise Refused("Say where to move to: --to postgresql://user@host/database, or CLASSIFIER_MOVE_TO_URL.")
    moved = move_all(context.database.url, target, _MoveProgress())
    name, at = urls.shown(target), iso(moved.at_us)
    rows = sum(held.rows for held in moved.tables.values())
    if not moved.is_left_alone:
        raise Refused(
            f"{name} equals this database as of {at} ({rows:,} rows, all compared), but a server may still write to "
            "this one. Stop all servers, and run this again: it copies what came in since."
        )
    tables = {table: {"rows": held.rows, "sha256": held.sha256} for table, held in moved.tables.items()}
    text = (
        f"{name} equals this database: {rows:,} rows in {len(tables)} tables, all compared. No server uses this "
        f"one any more: start them with CLASSIFIER_DATABASE_URL set to the new one."
    )
    return Answer({"to": name, "at": at, "rows": rows, "tables": tables}, text)


class _MoveProgress:
    """Shows what a move does: each table at once, and every second how many of its rows were read."""

    def __init__(self) -> None:
        self._doing: tuple[str, str] | None = None
        self._progress = Progress()

    def __call__(self, action: str, table: str, rows: int) -> None:
        line = f"{action} {table}: {rows:,} rows ..." if rows else f"{action} {table} ..."
        self._progress.show(line, at_once=(action, table) != self._doing)
        self._doing = action, table
