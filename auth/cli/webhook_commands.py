"""The command about webhooks: what is not delivered, sending it again, and a test of the endpoint."""

import asyncio
import json
import secrets
from functools import partial
from typing import Any

from auth.cli.answer import Answer, Context
from auth.cli.table import Table
from auth.webhook_delivery import Delivery, Endpoint, connected
from storage import quota_messages
from storage.clock import iso, unix_us
from storage.errors import Refused

TEST = "test"
_NOT_SET = "CLASSIFIER_WEBHOOK_URL is not set; set it, and CLASSIFIER_WEBHOOK_SECRET, as for the server."


def webhooks(context: Context, *, retry: bool, action: str | None) -> Answer:
    """List what is not delivered, have it sent again, or send a test message."""
    if action == TEST:
        return _test(Endpoint.of(context.settings))
    if retry:
        clock_us = None if context.database.has_server else unix_us
        number = context.database.change(partial(quota_messages.retry, clock_us=clock_us))
        return Answer({"retried": number}, f"The servers that run send now: messages, {number}.")
    described = [_describe(row) for row in context.database.ask(quota_messages.undelivered)]
    if not described:
        return Answer({"messages": []}, "All messages are delivered.")
    return Answer({"messages": described}, tables=(_table(described),))


def _describe(row: Any) -> dict[str, Any]:
    data = json.loads(row.payload)["data"]
    return {
        "id": row.identifier,
        "user_id": row.user_id,
        "quota": data["quota"],
        "percent": data["percent"],
        "reached_at": iso(row.created_us),
        "state": "failed" if row.due_us is None else "waiting",
        "tries": row.tries,
        "next_try_at": iso(row.due_us),
        "failure": row.failure,
    }


def _table(described: list[dict[str, Any]]) -> Table:
    rows = []
    for one in described:
        mark = f"{one['percent']} % of {one['quota']}"
        next_try = one["next_try_at"] or "never"
        rows.append([one["user_id"], mark, one["reached_at"], str(one["tries"]), next_try, one["failure"] or "-"])
    return Table(("USER ID", "REACHED", "AT", "TRIES", "NEXT TRY", "FAILURE"), rows, ("AT",))


def _test(endpoint: Endpoint | None) -> Answer:
    if endpoint is None:
        raise Refused(_NOT_SET)
    identifier = f"test_{secrets.token_hex(8)}"
    payload = quota_messages.event(TEST, unix_us(), {"text": "A test of python -m auth webhooks."})
    delivery = asyncio.run(_send(endpoint, identifier, payload))
    if delivery.failure is not None:
        raise Refused(f"The test message was not delivered: {delivery.failure}.")
    return Answer({"id": identifier, "delivered": True}, f"The test message {identifier} is delivered.")


async def _send(endpoint: Endpoint, identifier: str, payload: str) -> Delivery:
    async with connected(endpoint) as receiver:
        return await receiver.send(identifier, payload)
