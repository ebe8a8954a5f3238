"""Creates, rotates and revokes keys. Each change is on the audit log, in the same transaction."""

from typing import Any

from sqlalchemy import Connection

from storage import audit, keys
from storage.audit import Entry
from storage.clock import MICROSECONDS, iso, unix_us
from storage.key_record import KeyRecord
from storage.keys import NewKey
from storage.policy import write_limits
from storage.quotas import write_quotas


def create(connection: Connection, new: NewKey, actor: str) -> KeyRecord:
    """Store a new key, and its user if there is none yet. Return the key.

    Raises:
        Refused: see `keys.issue`.
    """
    made = keys.issue(connection, new)
    _record(connection, actor, "create", made, _given(made))
    return made


def create_first(connection: Connection, new: NewKey, actor: str) -> KeyRecord | None:
    """Store a new key and its user if there is no user yet; return None if there is one.

    Raises:
        Refused: there are too many limits.
    """
    made = keys.issue_first(connection, new)
    if made is not None:
        _record(connection, actor, "create", made, _given(made))
    return made


def rotate(
    connection: Connection, key_id: str, new_key_id: str, secret_sha256: str, grace_s: int, actor: str
) -> KeyRecord:
    """Replace a key by a new one with the same name, scopes and expiry, and return the new one.

    Args:
        connection: a connection in a write transaction.
        key_id: the key to replace.
        new_key_id: the id of the new key.
        secret_sha256: the SHA-256 of its secret, hexadecimal.
        grace_s: how long the old key still works, seconds.
        actor: who makes the change.

    Raises:
        Refused: there is no such key, it is revoked, expired or was rotated before, or its user is disabled.
    """
    now_us = unix_us()
    old = keys.require(connection, key_id)
    keys.retire(connection, key_id, now_us, grace_s * MICROSECONDS, new_key_id)
    new = NewKey(old.user_id, None, (), new_key_id, secret_sha256, old.scopes, now_us, old.expires_us, old.name)
    made = keys.issue(connection, new)
    _record(connection, actor, "rotate", made, {"replaces": key_id, "grace_s": grace_s, **_given(made)})
    return made


def revoke(connection: Connection, key_id: str, actor: str) -> KeyRecord:
    """Revoke a key, and return it.

    Raises:
        Refused: there is no such key, or it is revoked already.
    """
    revoked = keys.revoke(connection, key_id, unix_us())
    _record(connection, actor, "revoke", revoked, {})
    return revoked


def _record(connection: Connection, actor: str, action: str, key: KeyRecord, detail: dict[str, Any]) -> None:
    """Add the change of a key to the audit log, in the transaction of the change."""
    kept = {"email": key.email, **detail}
    audit.record(connection, Entry(unix_us(), actor, action, key.user_id, key.key_id, kept))


def _given(key: KeyRecord) -> dict[str, Any]:
    """Return what was given to a key, as the audit log keeps it: its name if it has one, scopes, limits and expiry."""
    return {
        **({"name": key.name} if key.name else {}),
        "scopes": ",".join(sorted(key.scopes)),
        "limits": write_limits(key.limits),
        **({"quotas": write_quotas(key.quotas)} if key.quotas else {}),
        "expires_at": iso(key.expires_us),
    }
