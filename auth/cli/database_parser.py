"""The commands of `python -m auth` about the database as a whole, their arguments and their help."""

from auth.cli import commands, database_commands, restore_commands, values
from auth.cli.arguments import Add


def add_commands(add: Add) -> None:
    """Add the commands.

    Args:
        add: adds one command.
    """
    backup = add(
        "backup", database_commands.backup, "Copy an SQLite database to a new file, also while the service runs."
    )
    backup.add_argument("file", type=values.file, metavar="FILE", help="the new file; it must not exist yet")
    _add_restore_commands(add)
    move = add(
        "move",
        database_commands.move,
        "Copy everything from an SQLite database to a new PostgreSQL one, also while the service runs, and compare it.",
        "--to postgresql://classifier@db.example.org/classifier",
    )
    move.add_argument(
        "--to",
        type=values.postgresql_url,
        metavar="URL",
        help="an empty database, or one that a move has begun to fill; default: CLASSIFIER_MOVE_TO_URL",
    )
    add(
        "migrate",
        database_commands.report_migrated,
        "Migrate the database to this version's tables, once for all replicas.",
    )
    add("init", commands.init, "Create the tables, and a first user with a key if there is no user yet.")


def _add_restore_commands(add: Add) -> None:
    restore = add(
        "restore",
        restore_commands.restore,
        "Put a backup in the place of an SQLite database; what was revoked, disabled or erased since stays so.",
        "backup.db",
        "backup.db --revocations revocations.json",
    )
    restore.add_argument("file", type=values.file, metavar="FILE", help="what 'backup' has written")
    restore.add_argument(
        "--revocations",
        type=values.file,
        metavar="LIST",
        help="what 'revocations' has written, if the database is lost",
    )
    unknown = restore.add_mutually_exclusive_group()
    unknown.add_argument("--revoke-all-keys", action="store_true", help="revoke every key")
    unknown.add_argument("--keep-keys", action="store_true", help="restore also if it is not known what was revoked")
    revocations = add(
        "revocations",
        restore_commands.revocations,
        "Write which keys and users have ended to a file, to be kept where the backups are.",
        "revocations.json",
    )
    revocations.add_argument("file", type=values.file, metavar="FILE", help="the file; one of that name is replaced")
    again = add(
        "revoke-again",
        restore_commands.revoke_again,
        "End the keys and users of a list in a database that was restored by other means.",
        "revocations.json",
    )
    what = again.add_mutually_exclusive_group(required=True)
    what.add_argument("file", type=values.file, nargs="?", metavar="FILE", help="what 'revocations' has written")
    what.add_argument("--all-keys", action="store_true", help="revoke every key")
