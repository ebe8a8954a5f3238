"""The commands about the audit log and the usage log."""

from functools import partial
from typing import Any

from auth.cli import reports
from auth.cli.answer import Answer, Context, confirm, record
from storage import audit as audit_log
from storage import outbox_pruning, reconciliation, rollup
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
    """Delete the usage rows that are older than `older_than` seconds, and the messages about that time.

    Each transaction deletes only some rows, so that the service can write in between. A nightly job is not asked.
    """
    now_us = unix_us()
    before_us = now_us - older_than * MICROSECONDS
    before, until_s = iso(before_us), outbox_pruning.last_start_s(before_us, now_us)
    if dry_run:
        number, messages = _count(context.database, before_us), _count_messages(context.database, until_s)
        text = f"{number:,} rows of the usage log are older than {before}; `prune` would delete them{_and(messages)}."
        return Answer({"would_delete": number, "messages": messages, "before": before}, text)
    confirm(
        yes,
        lambda: f"Delete the {_count(context.database, before_us):,} rows of the usage log before {before} for good?",
        unattended=True,
    )
    change = context.database.change
    deleted = 0
    while some := change(lambda connection: usage_log.prune(connection, before_us)):
        deleted += some
    messages = _prune_messages(context.database, until_s)

    def finish(connection: Any) -> None:
        rollup.forget_minutes_before(connection, before_us // MICROSECONDS)
        record(connection, "prune", None, None, {"older_than_s": older_than, "deleted": deleted, "messages": messages})

    change(finish)
    text = f"{deleted} rows of the usage log are deleted{_and(messages)}."
    return Answer({"deleted": deleted, "messages": messages}, text)


def _and(messages: int) -> str:
    return f", and {messages:,} messages that were delivered" if messages else ""


def _count_messages(database: Database, until_s: int) -> int:
    everyone = database.ask(reconciliation.user_ids)
    return sum(database.ask(partial(outbox_pruning.count, user_id=user_id, until_s=until_s)) for user_id in everyone)


def _prune_messages(database: Database, until_s: int) -> int:
    """Delete messages, and return how many. Most users have none, and need no transaction that blocks other writers."""
    deleted = 0
    for user_id in database.ask(reconciliation.user_ids):
        if database.ask(partial(outbox_pruning.count, user_id=user_id, until_s=until_s)):
            deleted += database.change(partial(outbox_pruning.prune, user_id=user_id, until_s=until_s))
    return deleted


def _count(database: Database, before_us: int) -> int:
    counted = 0
    after_id: int | None = 0
    while after_id is not None:
        count = partial(usage_log.count_before, before_us=before_us, after_id=after_id)
        older, after_id = database.ask(count)
        counted += older
    return counted
