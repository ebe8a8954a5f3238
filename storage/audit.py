"""The audit log: every change of users and keys, by whom and when. The database refuses to change or delete a row."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from storage.models import audit_log


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `actor` is who made it, `detail` what it was; neither ever holds a secret."""

    at_us: int
    actor: str
    action: str
    user_id: str | None
    key_id: str | None
    detail: dict[str, Any]


def record(connection: Connection, entry: Entry) -> None:
    """Add an entry, in the transaction of the change itself."""
    values = {
        "at_us": entry.at_us,
        "actor": entry.actor[:100],
        "action": entry.action,
        "user_id": entry.user_id,
        "key_id": entry.key_id,
        "detail": json.dumps(entry.detail),
    }
    connection.execute(insert(audit_log).values(values))


def every(connection: Connection) -> list[Entry]:
    """All entries, the oldest first."""
    rows = connection.execute(select(audit_log).order_by(audit_log.c.id))
    return [Entry(row.at_us, row.actor, row.action, row.user_id, row.key_id, json.loads(row.detail)) for row in rows]
