"""The commands about the audit log and the usage log."""

from functools import partial
from typing import Any

from auth.cli import reports
from auth.cli.answer import Answer, Context, confirm, record
from storage import audit as audit_log
from storage import rollup
from storage import usage as usage_log
from storage.clock import MICROSECONDS, iso, unix_us
from storage.database import Database


def audit(context: Context) -> Answer:
    """List all changes."""
    entries = [reports.audit_entry(entry) for entry in context.database.ask(audit_log.every)]
    if not entries:
        return Answer({"entries": []}, "No changes yet.")
    return Answer({"entries": entries}, tables=(reports.audit_table(entries),))


def prune(context: Context, *, older_than: int, dry_run: bool, yes: bool) -> Answer:
    """Delete the usage rows that are older than `older_than` seconds.

    Each transaction deletes only some rows, so that the service can write in between. A nightly job is not asked.
    """
    before_us = unix_us() - older_than * MICROSECONDS
    before = iso(before_us)
    if dry_run:
        number = _count(context.database, before_us)
        text = f"{number:,} rows of the usage log are older than {before}; `prune` would delete them."
        return Answer({"would_delete": number, "before": before}, text)
    confirm(
        yes,
        lambda: f"Delete the {_count(context.database, before_us):,} rows of the usage log before {before} for good?",
        unattended=True,
    )
    deleted = 0
    while some := context.database.change(lambda connection: usage_log.prune(connection, before_us)):
        deleted += some

    def finish(connection: Any) -> None:
        rollup.forget_minutes_before(connection, before_us // MICROSECONDS)
        record(connection, "prune", None, None, {"older_than_s": older_than, "deleted": deleted})

    context.database.change(finish)
    return Answer({"deleted": deleted}, f"{deleted} rows of the usage log are deleted.")


def _count(database: Database, before_us: int) -> int:
    counted = 0
    after_id: int | None = 0
    while after_id is not None:
        count = partial(usage_log.count_before, before_us=before_us, after_id=after_id)
        older, after_id = database.ask(count)
        counted += older
    return counted
