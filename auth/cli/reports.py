"""Formats users, keys, usage and the audit log for the output of commands: as JSON documents, and for people."""

from typing import Any

from auth.cli.table import Table
from storage.audit import Entry
from storage.clock import MICROSECONDS, iso
from storage.key_record import KeyRecord
from storage.plans import Plan
from storage.policy import LETTERS, UNITS, Limit
from storage.prices import write_amount
from storage.tally import Tally
from storage.user_record import User

Document = dict[str, Any]

LISTED = ("key_id", "name", "email", "user_id", "state", "limits", "scopes", "last_used_at", "expires_at")
# What a narrow terminal does without, the first one first.
SPARE = ("user_id", "scopes", "created_at", "expires_at", "limits", "last_used_at")
OF_USER = ("key_id", "name", "state", "scopes", "created_at", "last_used_at", "expires_at")


def created(key: str, record: KeyRecord) -> Document:
    """Return a new key with its secret. This is the only time that the secret is shown."""
    return {
        "user_id": record.user_id,
        "key_id": record.key_id,
        "key": key,
        "limits": [str(limit) for limit in record.limits],
        # Only where there is one: programs read the other fields as they always were.
        **({"quotas": [str(quota) for quota in record.quotas]} if record.quotas else {}),
        "scopes": sorted(record.scopes),
        "expires_at": iso(record.expires_us),
    }


def shown_once(document: Document) -> str:
    """Return the document of `created` as text."""
    return "\n".join(
        [
            f"API key    {document['key']}",
            "           Keep it now: it is shown this once, and never again.",
            f"key id     {document['key_id']}",
            f"user id    {document['user_id']}",
            f"limits     {limits(document['limits'], ', ')}",
            *([f"quotas     {', '.join(document['quotas'])}"] if "quotas" in document else []),
            f"scopes     {', '.join(document['scopes'])}",
            f"expires    {document['expires_at'] or 'never'}",
        ]
    )


def describe(record: KeyRecord, now_us: int) -> Document:
    """Return a key without its secret."""
    return {
        "key_id": record.key_id,
        "name": record.name,
        "user_id": record.user_id,
        "email": record.email,
        "state": record.state(now_us),
        "limits": [str(limit) for limit in record.limits],
        "quotas": [str(quota) for quota in record.quotas],
        "plan": record.plan,
        "scopes": sorted(record.scopes),
        "created_at": iso(record.created_us),
        "last_used_at": iso(record.last_used_us),
        "expires_at": iso(record.expires_us),
        "revoked_at": iso(record.revoked_us),
        "replaced_by": record.replaced_by,
    }


def user(of: User) -> Document:
    """Return a user."""
    return {
        "user_id": of.user_id,
        "email": of.email,
        "state": of.state,
        "limits": [str(limit) for limit in of.limits],
        "quotas": [str(quota) for quota in of.quotas],
        "plan": of.plan,
        "created_at": iso(of.created_us),
        "disabled_at": iso(of.disabled_us),
        "stripe_customer": of.stripe_customer,
        "stripe_from": None if of.stripe_from_s is None else iso(of.stripe_from_s * MICROSECONDS),
    }


def fields(document: Document) -> Table:
    """Return a document for people, one line for each field."""
    return Table((), [[name.replace("_", " "), _text(name, value)] for name, value in document.items()])


def keys(documents: list[Document], names: tuple[str, ...] = LISTED) -> Table:
    """Return keys for people, one line for each.

    Args:
        documents: the keys, as `describe` returns them.
        names: the fields to show.
    """
    rows = [[_cell(name, document[name]) for name in names] for document in documents]
    return Table([_heading(name) for name in names], rows, [_heading(name) for name in SPARE if name in names])


def usage(owner: User, tally: Tally, bucket: str, found: list[tuple[int, Tally]]) -> Document:
    """Return the usage of a user: all its admitted classifications, and all its requests in buckets of time."""
    return {
        "user_id": owner.user_id,
        "email": owner.email,
        "total": {"requests": tally.requests, "images": tally.images, "statuses": _statuses(tally)},
        "billed": {"billable_images": tally.billable if tally.requests else 0, "cost": _cost(tally, owner)},
        "bucket": bucket,
        "data": [
            {
                "start": iso(start_s * MICROSECONDS),
                "requests": counted.requests,
                "images": counted.images,
                "billable_images": counted.billable,
                "cost": _cost(counted, owner),
                "statuses": _statuses(counted),
                "mean_ms": round(counted.mean_ms, 2),
            }
            for start_s, counted in found
        ],
    }


def usage_of_span(owner: User, since: int | None, until: int | None, billed: tuple[int | None, int]) -> Document:
    """Return the part of the document of `usage` about the whole time that was asked for.

    Args:
        owner: the user.
        since: the start of that time, Unix seconds; None: the beginning.
        until: the end of that time, Unix seconds; None: now.
        billed: the billable images, and their cost, billionths; see `rollup.total`.
    """
    images, cost_nanos = billed
    begin, end = (None if at_s is None else iso(at_s * MICROSECONDS) for at_s in (since, until))
    return {"from": begin, "to": end, "span": {"billable_images": images, "cost": _amount(cost_nanos, owner)}}


def usage_text(document: Document) -> str:
    """Return the total of the document of `usage`, and that of the time that was asked for, as sentences."""
    total = document["total"]
    text = (
        f"{document['email']}: {total['requests']} classifications of {total['images']} images admitted in all."
        f" Billable: {_billable(document['billed'])}."
    )
    if document["from"] is None and document["to"] is None:
        return text
    of_span = f"{document['from'] or 'the beginning'} to {document['to'] or 'now'}"
    return f"{text} From {of_span}: {_billable(document['span'])}."


def _billable(billed: Document) -> str:
    cost = f", for {billed['cost']['amount']} {billed['cost']['currency']}" if billed["cost"] else ""
    return f"{billed['billable_images'] or 0} images{cost}"


def usage_table(document: Document) -> Table:
    """Return the buckets of the document of `usage` for people."""
    rows = []
    for row in document["data"]:
        statuses = ", ".join(f"{number} x {status}" for status, number in row["statuses"].items())
        billable = "unknown" if row["billable_images"] is None else f"{row['billable_images']:,}"
        numbers = [f"{row['requests']:,}", f"{row['images']:,}", billable]
        cost = f"{row['cost']['amount']} {row['cost']['currency']}" if row["cost"] else "-"
        rows.append([_cell("start_at", row["start"]), *numbers, cost, statuses])
    return Table(("START", "REQUESTS", "IMAGES", "BILLABLE", "COST", "STATUSES"), rows)


def audit_entry(entry: Entry) -> Document:
    """Return a change of users or keys."""
    return {
        "at": iso(entry.at_us),
        "actor": entry.actor,
        "action": entry.action,
        "user_id": entry.user_id,
        "key_id": entry.key_id,
        "detail": entry.detail,
    }


def audit_table(entries: list[Document]) -> Table:
    """Return the documents of `audit_entry` for people."""
    rows = []
    for entry in entries:
        detail = ", ".join(f"{name} {'none' if value is None else value}" for name, value in entry["detail"].items())
        about = " ".join(filter(None, (entry["user_id"], entry["key_id"])))
        rows.append([entry["at"], entry["actor"], entry["action"], about, detail])
    return Table(("AT", "ACTOR", "ACTION", "ABOUT", "DETAIL"), rows)


def plan(of: Plan) -> Document:
    """Return a plan."""
    return {
        "name": of.name,
        "limits": [str(limit) for limit in of.limits],
        "quotas": [str(quota) for quota in of.quotas],
        "prices": [
            {"price": price.per_1000, "currency": price.currency, "from": iso(price.from_us)} for price in of.prices
        ],
        "created_at": iso(of.created_us),
    }


def plans(documents: list[Document]) -> Table:
    """Return the documents of `plan` for people, one line for each."""
    rows = []
    for document in documents:
        prices = [f"{price['price']} {price['currency']} from {price['from']}" for price in document["prices"]]
        limited = limits(document["limits"], ", ") or "-"
        rows.append([document["name"], limited, ", ".join(document["quotas"]) or "-", "; ".join(prices) or "-"])
    return Table(("NAME", "LIMITS", "QUOTAS", "PRICES OF 1,000 IMAGES"), rows)


def _cost(tally: Tally, owner: User) -> Document | None:
    return _amount(tally.cost_nanos, owner)


def _amount(cost_nanos: int, owner: User) -> Document | None:
    return {"amount": write_amount(cost_nanos), "currency": owner.currency} if owner.currency else None


def limits(written: list[str], separator: str = ",") -> str:
    """Return limits as people write them: `1000/30d` for `1000/2592000s`."""
    return separator.join(_limit(Limit.parse(text)) for text in written)


def _limit(limit: Limit) -> str:
    if limit.window_s in UNITS.values():
        return str(limit)
    letter = next(letter for letter in "dhs" if limit.window_s % LETTERS[letter] == 0)
    return f"{limit.quota}/{limit.window_s // LETTERS[letter]}{letter}"


def _heading(name: str) -> str:
    return name.replace("_", " ").upper()


def _cell(name: str, value: Any) -> str:
    """Return a value for a table, which seconds would only widen."""
    if name.endswith("_at") and value is not None:
        return f"{value[: len('2026-11-28T19:44')]}Z"
    return _text(name, value)


def _statuses(tally: Tally) -> dict[str, int]:
    return {str(status): requests for status, requests in sorted(tally.statuses.items())}


def _text(name: str, value: Any) -> str:
    if name == "limits":
        return limits(value)
    if isinstance(value, list):
        return ",".join(value)
    return str(value or ("never" if name.endswith("_at") else "-"))
