"""The audit log: who changed which user or key, and when.

The database refuses to change or delete its rows, except that `erase` removes a user's personal data from them.
"""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from storage.append_only import audit_log_changeable
from storage.models import api_keys, audit_log

# The fields of a detail that may hold personal data.
PERSONAL = ("email", "old_email", "name", "stripe_customer", "old_stripe_customer")
ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of a user or key. No attribute ever holds a secret.

    Attributes:
        at_us: the time of the change, Unix microseconds.
        actor: who made the change; the database keeps the first 100 characters.
        action: the name of the change, such as `create`.
        user_id: the user it concerns; None: no user.
        key_id: the key it concerns; None: no key.
        detail: what changed; must be JSON.
    """

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
    """Return all entries, the oldest first."""
    rows = connection.execute(select(audit_log).order_by(audit_log.c.id))
    return [Entry(row.at_us, row.actor, row.action, row.user_id, row.key_id, json.loads(row.detail)) for row in rows]


def erase_names(connection: Connection, user_id: str) -> None:
    """Remove addresses and names of keys from entries about a user, and network addresses from changes by its keys.

    An entry of a change that a key of the user made keeps the id of the key.
    """
    found = connection.execute(select(audit_log.c.id, audit_log.c.detail).where(audit_log.c.user_id == user_id)).all()
    own_keys = set(connection.scalars(select(api_keys.c.id).where(api_keys.c.user_id == user_id)))
    over_http = select(audit_log.c.actor).where(audit_log.c.actor.like("key % from %")).distinct()
    actors = connection.scalars(over_http).all()
    with audit_log_changeable(connection):
        for actor in actors:
            key = actor.partition(" from ")[0]
            if key.removeprefix("key ") in own_keys:
                connection.execute(update(audit_log).where(audit_log.c.actor == actor).values(actor=key))
        for entry_id, written in found:
            detail = json.loads(written)
            erased = {name: ERASED for name in PERSONAL if detail.get(name) is not None}
            changed = json.dumps(detail | erased)
            connection.execute(update(audit_log).where(audit_log.c.id == entry_id).values(detail=changed))
