"""Reports on scheduled work: when each command last succeeded, and how long messages have been waiting."""

from sqlalchemy import Connection, func, select

from storage.clock import MICROSECONDS
from storage.inserts import insert_into
from storage.metering import KIND
from storage.models import job_successes, outbox
from storage.quota_marks import REACHED

COMMANDS = ("backup", "meter", "prune", "reconcile")


def note_success(connection: Connection, command: str, at_us: int) -> None:
    """Note that a command succeeded at this time, Unix microseconds."""
    statement = insert_into(job_successes, connection.dialect.name).values(command=command, at_us=at_us)
    connection.execute(statement.on_conflict_do_update(index_elements=["command"], set_={"at_us": at_us}))


def last_successes(connection: Connection) -> dict[str, float]:
    """Return when each command last succeeded, Unix seconds; 0: never."""
    found = {row.command: row.at_us for row in connection.execute(select(job_successes))}
    return {command: found.get(command, 0) / MICROSECONDS for command in COMMANDS}


def oldest_due_s(connection: Connection, now_us: int) -> dict[str, float]:
    """Return how long the oldest undelivered message of each kind has been waiting, seconds; 0: none waits.

    Reads only an index of the messages that wait.
    """
    table = outbox.c
    waits = (table.kind.in_([KIND, REACHED]), table.due_us.is_not(None))
    oldest = select(table.kind, func.min(table.created_us)).where(*waits).group_by(table.kind)
    since_us = {kind: at_us for kind, at_us in connection.execute(oldest)}
    return {kind: max(0, now_us - since_us.get(kind, now_us)) / MICROSECONDS for kind in (KIND, REACHED)}
