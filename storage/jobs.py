"""What an owner is told of work that runs by itself: when each command last succeeded, and how long messages wait."""

from importlib import import_module

from sqlalchemy import Connection, func, select

from storage.clock import MICROSECONDS
from storage.metering import KIND
from storage.models import job_successes, outbox
from storage.quota_marks import REACHED

COMMANDS = ("backup", "meter", "prune", "reconcile")


def note_success(connection: Connection, command: str, at_us: int) -> None:
    """Notes that a command has just succeeded, in Unix microseconds."""
    insert = import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert
    statement = insert(job_successes).values(command=command, at_us=at_us)
    connection.execute(statement.on_conflict_do_update(index_elements=["command"], set_={"at_us": at_us}))


def last_successes(connection: Connection) -> dict[str, float]:
    """Returns when each command last succeeded, Unix seconds; 0: never."""
    found = {row.command: row.at_us for row in connection.execute(select(job_successes))}
    return {command: found.get(command, 0) / MICROSECONDS for command in COMMANDS}


def oldest_due_s(connection: Connection, now_us: int) -> dict[str, float]:
    """Returns, for each kind of message, for how long the oldest one waits that is to be delivered, seconds; 0: none.

    Reads an index of those alone that wait.
    """
    table = outbox.c
    waits = (table.kind.in_([KIND, REACHED]), table.due_us.is_not(None))
    oldest = select(table.kind, func.min(table.created_us)).where(*waits).group_by(table.kind)
    since_us = {kind: at_us for kind, at_us in connection.execute(oldest)}
    return {kind: max(0, now_us - since_us.get(kind, now_us)) / MICROSECONDS for kind in (KIND, REACHED)}
