"""The commands of operators. The transaction that makes a change also writes it to the audit log."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from auth.api_key import ApiKey
from auth.cli import reports
from auth.cli.actor import actor
from auth.identity import DEFAULT_SCOPES
from storage import audit as audit_log
from storage import keys, rollup
from storage import usage as usage_log
from storage.audit import Entry
from storage.backup import backup as write_backup
from storage.clock import unix_us
from storage.database import Database
from storage.keys import KEY_MEMORY_S, KeyRecord, NewKey
from storage.policy import Limit, write_limits
from storage.rollup import WIDTHS_S, Span, Tally

FIRST_USER = "first-user@localhost"
FIRST_LIMIT = (Limit(60, 60),)
MICROSECONDS = 1_000_000
BUCKETS_AT_ONCE = 1000


@dataclass(frozen=True)
class Context:
    """What all commands need.

    Attributes:
        database: the database, with this version's tables.
        default_limits: the limits of a new user if the command names none.
    """

    database: Database
    default_limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Answer:
    """What a command prints: a JSON document, or a text with the same content."""

    document: dict[str, Any]
    text: str


def create(
    context: Context,
    *,
    email: str,
    limit: list[Limit] | None,
    scope: list[str] | None,
    expires_in: int | None,
) -> Answer:
    """Create a key, and its user if there is none.

    Args:
        context: what all commands need.
        email: the user's address.
        limit: the limits of the user; None to keep those it has, or for the default ones of a new user.
        scope: the scopes of the key; None for the default scopes.
        expires_in: seconds until the key expires; None for a key that does not.
    """
    key, new = _new_key(
        context, email, tuple(limit) if limit else None, frozenset(scope) if scope else DEFAULT_SCOPES, expires_in
    )
    record = _change(context.database, "create", lambda connection: keys.issue(connection, new), reports.given)
    return _reveal(key, record)


def init(context: Context) -> Answer:
    """Create a first user with a key if there is no user yet."""
    key, new = _new_key(context, FIRST_USER, FIRST_LIMIT, DEFAULT_SCOPES, None)
    record = _change(context.database, "create", lambda connection: keys.issue_first(connection, new), reports.given)
    if record is None:
        return Answer({}, "The database is ready; its users and keys are kept.")
    return _reveal(key, record)


def report_migrated(_context: Context) -> Answer:
    """Do nothing: `main` migrates the database before each command."""
    return Answer({"migrated": True}, "The database has this version's tables.")


def backup(context: Context, *, file: Path) -> Answer:
    """Copy an SQLite database to a new file."""
    size = write_backup(context.database.url, file)
    return Answer({"file": str(file), "bytes": size}, f"{file} holds the whole database, {size:,} bytes.")


def list_keys(context: Context) -> Answer:
    """List all keys."""
    now_us = unix_us()
    described = [reports.describe(record, now_us) for record in context.database.ask(keys.every)]
    return Answer({"keys": described}, reports.table(described))


def show(context: Context, *, key_id: str) -> Answer:
    """Show one key."""
    described = reports.describe(context.database.ask(lambda connection: keys.require(connection, key_id)), unix_us())
    return Answer(described, reports.lines(described))


def rotate(context: Context, *, key_id: str, grace: int) -> Answer:
    """Replace a key by a new one with the same scopes and expiry. The old key works for `grace` more seconds."""
    old = context.database.ask(lambda connection: keys.require(connection, key_id))
    key, new = _new_key(context, old.email, None, old.scopes, None, old.expires_us)

    def replace(connection: Any) -> KeyRecord:
        keys.retire(connection, key_id, new.now_us, grace * MICROSECONDS)
        return keys.issue(connection, new)

    record = _change(
        context.database, "rotate", replace, lambda made: {"replaces": key_id, "grace_s": grace, **reports.given(made)}
    )
    time.sleep(KEY_MEMORY_S)
    return _reveal(key, record)


def revoke(context: Context, *, key_id: str) -> Answer:
    """Revoke a key."""
    record = _change(context.database, "revoke", lambda connection: keys.revoke(connection, key_id, unix_us()))
    # Workers cache a key for this long. When the command returns, no worker accepts the key any more.
    time.sleep(KEY_MEMORY_S)
    text = f"The key {record.key_id} of {record.email} is revoked, and refused everywhere."
    return Answer(reports.describe(record, unix_us()), text)


def set_limit(context: Context, *, user_id: str, limit: list[Limit]) -> Answer:
    """Replace the limits of a user."""

    def change(connection: Any) -> KeyRecord:
        before, after = keys.set_limits(connection, user_id, tuple(limit))
        detail = {"limits": write_limits(after.limits), "old_limits": write_limits(before.limits)}
        _audit(connection, "set-limit", after, None, detail)
        return after

    record = context.database.change(change)
    document = {"user_id": user_id, "email": record.email, "limits": list(map(str, record.limits))}
    return Answer(document, f"The limits of {record.email} are {', '.join(document['limits'])} now.")


def usage(context: Context, *, user_id: str, since: int | None, until: int | None, bucket: str) -> Answer:
    """Show the usage of a user. `since` and `until` are in Unix seconds."""
    [owner, *_] = context.database.ask(lambda connection: keys.of_user(connection, user_id))
    tally = context.database.ask(lambda connection: rollup.totals(connection, user_id))
    width_s = WIDTHS_S[bucket]
    first_s = (since or 0) // width_s * width_s
    to_s = until if until is not None else unix_us() // MICROSECONDS + 1
    found: list[tuple[int, Tally]] = []
    after: int | None = first_s
    while after is not None:
        span = Span(width_s, after, to_s, None, BUCKETS_AT_ONCE)
        page, after = context.database.ask(partial(rollup.buckets, user_id=user_id, span=span))
        found += page
    document = reports.usage(owner, tally, bucket, found)
    return Answer(document, reports.usage_text(document))


def audit(context: Context) -> Answer:
    """List all changes."""
    entries = [reports.audit_entry(entry) for entry in context.database.ask(audit_log.every)]
    return Answer({"entries": entries}, "\n".join(reports.audit_line(entry) for entry in entries) or "No changes yet.")


def prune(context: Context, *, older_than: int) -> Answer:
    """Delete the usage rows that are older than `older_than` seconds.

    Each transaction deletes only some rows, so that the service can write in between.
    """
    before_us = unix_us() - older_than * MICROSECONDS
    deleted = 0
    while some := context.database.change(lambda connection: usage_log.prune(connection, before_us)):
        deleted += some

    def finish(connection: Any) -> None:
        rollup.forget_minutes_before(connection, before_us // MICROSECONDS)
        detail = {"older_than_s": older_than, "deleted": deleted}
        audit_log.record(connection, Entry(unix_us(), actor(), "prune", None, None, detail))

    context.database.change(finish)
    return Answer({"deleted": deleted}, f"{deleted} rows of the usage log are deleted.")


def _new_key(
    context: Context,
    email: str,
    limits: tuple[Limit, ...] | None,
    scopes: frozenset[str],
    expires_in_s: int | None,
    expires_us: int | None = None,
) -> tuple[ApiKey, NewKey]:
    now_us = unix_us()
    if expires_in_s is not None:
        expires_us = now_us + expires_in_s * MICROSECONDS
    key = ApiKey.generate()
    default, secret = context.default_limits, key.secret_sha256()
    return key, NewKey(email, limits, default, key.key_id, secret, scopes, now_us, expires_us)


def _change(
    database: Database,
    action: str,
    make: Callable[[Any], KeyRecord | None],
    detail: Callable[[KeyRecord], dict[str, Any]] = lambda _record: {},
) -> Any:
    """Change a key, and write the change to the audit log in the same transaction.

    Args:
        database: where the key is.
        action: the name of the change in the audit log.
        make: makes the change and returns the changed key; None if there was nothing to change, which is not audited.
        detail: returns what the audit log keeps of the change, besides the address of the user.
    """

    def change_and_audit(connection: Any) -> KeyRecord | None:
        record = make(connection)
        if record is not None:
            _audit(connection, action, record, record.key_id, detail(record))
        return record

    return database.change(change_and_audit)


def _audit(connection: Any, action: str, record: KeyRecord, key_id: str | None, detail: dict[str, Any]) -> None:
    about = {"email": record.email, **detail}
    audit_log.record(connection, Entry(unix_us(), actor(), action, record.user_id, key_id, about))


def _reveal(key: ApiKey, record: KeyRecord) -> Answer:
    document = reports.created(key.reveal(), record)
    return Answer(document, reports.shown_once(document))
