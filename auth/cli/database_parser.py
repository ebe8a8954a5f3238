"""The commands of `python -m auth` about the database as a whole, their arguments and their help."""

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from auth.cli import commands, database_commands, values


def add_commands(add: Callable[..., ArgumentParser]) -> None:
    """Add the commands.

    Args:
        add: adds one: its name, the function that runs it, what it does, and examples of its arguments.
    """
    backup = add(
        "backup", database_commands.backup, "Copy an SQLite database to a new file, also while the service runs."
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="the new file; it must not exist yet")
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
