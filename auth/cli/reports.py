"""Formats keys, usage and the audit log for the output of commands: as JSON documents, and as text for people."""

from datetime import UTC, datetime
from typing import Any

from storage.audit import Entry
from storage.keys import KeyRecord
from storage.policy import write_limits
from storage.rollup import Tally

Document = dict[str, Any]


def created(key: str, record: KeyRecord) -> Document:
    """Return a new key with its secret. This is the only time that the secret is shown."""
    return {
        "user_id": record.user_id,
        "key_id": record.key_id,
        "key": key,
        "limits": [str(limit) for limit in record.limits],
        "scopes": sorted(record.scopes),
        "expires_at": _iso(record.expires_us),
    }


def shown_once(document: Document) -> str:
    """Return the document of `created` as text."""
    return "\n".join(
        [
            f"API key    {document['key']}",
            "           Keep it now: it is shown this once, and never again.",
            f"key id     {document['key_id']}",
            f"user id    {document['user_id']}",
            f"limits     {', '.join(document['limits'])}",
            f"scopes     {', '.join(document['scopes'])}",
            f"expires    {document['expires_at'] or 'never'}",
        ]
    )


def describe(record: KeyRecord, now_us: int) -> Document:
    """Return a key without its secret."""
    return {
        "key_id": record.key_id,
        "user_id": record.user_id,
        "email": record.email,
        "state": _state(record, now_us),
        "limits": [str(limit) for limit in record.limits],
        "scopes": sorted(record.scopes),
        "created_at": _iso(record.created_us),
        "expires_at": _iso(record.expires_us),
        "revoked_at": _iso(record.revoked_us),
    }


def lines(document: Document) -> str:
    """Return a document as text, one line for each field."""
    return "\n".join(f"{name.replace('_', ' '):<10} {_text(value)}" for name, value in document.items())


def table(keys: list[Document]) -> str:
    """Return keys as text, one line for each."""
    names = ("key_id", "email", "user_id", "state", "limits", "scopes", "expires_at")
    rows = [[name.replace("_", " ").upper() for name in names]]
    rows += [[_text(key[name]) for name in names] for key in keys]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def usage(owner: KeyRecord, tally: Tally, bucket: str, found: list[tuple[int, Tally]]) -> Document:
    """Return the usage of a user: all its admitted classifications, and all its requests in buckets of time."""
    return {
        "user_id": owner.user_id,
        "email": owner.email,
        "total": {"requests": tally.requests, "images": tally.images, "statuses": _statuses(tally)},
        "bucket": bucket,
        "data": [
            {
                "start": _iso(start_s * 1_000_000),
                "requests": counted.requests,
                "images": counted.images,
                "statuses": _statuses(counted),
                "mean_ms": round(counted.mean_ms, 2),
            }
            for start_s, counted in found
        ],
    }


def usage_text(document: Document) -> str:
    """Return the document of `usage` as text."""
    total = document["total"]
    head = f"{document['email']}: {total['requests']} classifications of {total['images']} images admitted in all."
    rows = [f"{row['start']}  {row['requests']:>8} requests  {row['images']:>8} images" for row in document["data"]]
    return "\n".join([head, *rows])


def given(record: KeyRecord) -> Document:
    """Return the scopes, limits and expiry of a key, as the audit log keeps them."""
    return {
        "scopes": ",".join(sorted(record.scopes)),
        "limits": write_limits(record.limits),
        "expires_at": _iso(record.expires_us),
    }


def audit_entry(entry: Entry) -> Document:
    """Return a change of users or keys."""
    return {
        "at": _iso(entry.at_us),
        "actor": entry.actor,
        "action": entry.action,
        "user_id": entry.user_id,
        "key_id": entry.key_id,
        "detail": entry.detail,
    }


def audit_line(entry: Document) -> str:
    """Return the document of `audit_entry` as one line of text."""
    detail = ", ".join(f"{name} {'none' if value is None else value}" for name, value in entry["detail"].items())
    about = " ".join(filter(None, (entry["user_id"], entry["key_id"])))
    return f"{entry['at']}  {entry['actor']}  {entry['action']}  {about}  {detail}"


def _statuses(tally: Tally) -> dict[str, int]:
    return {str(status): requests for status, requests in sorted(tally.statuses.items())}


def _state(record: KeyRecord, now_us: int) -> str:
    if record.revoked_us is not None:
        return "revoked"
    return "live" if record.is_live(now_us) else "expired"


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value or "never")


def _iso(unix_us: int | None) -> str | None:
    if unix_us is None:
        return None
    return datetime.fromtimestamp(unix_us / 1_000_000, UTC).isoformat(timespec="seconds")
