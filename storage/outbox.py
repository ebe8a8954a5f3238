"""Keeps the outbox: messages to others, written in the transaction of the change that they report, and sent afterwards.

A message is sent again until its receiver has confirmed it. If a process is killed after it has sent a message, and
before that is noted, another one sends it again. So a receiver may get a message twice, with the same identifier.
Source of the pattern: Richardson, "Microservices Patterns", 2018, "Transactional outbox".
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, bindparam, func, select, update

from storage.audit import ERASED
from storage.inserts import insert_into
from storage.models import outbox, users
from storage.sqlite import Transaction

_table = outbox.c


class NewMessage(NamedTuple):
    """A message that is to be sent.

    Attributes:
        kind: what it is, such as "quota.reached"; each kind has its own sender.
        identifier: identifies the message, in at most 100 characters; a second one with the same identifier is not
            added.
        user_id: the user whom it is about.
        period_s: the start of the time that it is about, Unix seconds.
        value: the number that it reports.
        payload: the text of the message, in the form that its sender expects.
        created_us: now, Unix microseconds; from then on it is due.
    """

    kind: str
    identifier: str
    user_id: str
    period_s: int
    value: int
    payload: str
    created_us: int


class Message(NamedTuple):
    """A message that its sender has claimed.

    Attributes:
        id: the number of the message.
        identifier, user_id, period_s, value, payload, created_us: as in `NewMessage`.
        first_tried_us: when it was claimed for the first time, Unix microseconds; None: just now. Since then, its
            receiver may have got it.
        tries: how often it was claimed before.
    """

    id: int
    identifier: str
    user_id: str
    period_s: int
    value: int
    payload: str
    created_us: int
    first_tried_us: int | None
    tries: int


_claim = (
    update(outbox)
    .where(_table.id == bindparam("of_id"), _table.due_us == bindparam("seen_us", type_=BigInteger))
    .values(
        due_us=bindparam("until_us", type_=BigInteger),
        first_tried_us=func.coalesce(_table.first_tried_us, bindparam("now_us", type_=BigInteger)),
        tries=_table.tries + 1,
    )
)
_of_id = update(outbox).where(_table.id == bindparam("of_id"))
# Another sender may have delivered it after the lease of the one that failed.
_if_not_delivered = _of_id.where(_table.delivered_us.is_(None))


def _to_be_sent(kind: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of the messages that were not delivered, without those that `forget_erased` emptied."""
    return _table.kind == kind, _table.delivered_us.is_(None), _table.payload != ""


@cache
def _insert_once(dialect: str) -> Any:
    return insert_into(outbox, dialect).on_conflict_do_nothing(index_elements=["identifier"])


def add(connection: Transaction, messages: Sequence[NewMessage]) -> None:
    """Add messages, except those whose identifier is there already; in the transaction of the change they report."""
    if messages:
        rows = [message._asdict() | {"due_us": message.created_us} for message in messages]
        connection.execute(_insert_once(connection.dialect.name), rows)


def add_delivered(connection: Connection, message: NewMessage) -> None:
    """Add a message as delivered. If a message has the same identifier, add the value to that one instead."""
    statement = insert_into(outbox, connection.dialect.name)
    added = {"value": _table.value + statement.excluded.value}
    row = message._asdict() | {"delivered_us": message.created_us}
    connection.execute(statement.on_conflict_do_update(index_elements=["identifier"], set_=added), row)


def claim(connection: Connection, kind: str, now_us: int, lease_us: int, most: int) -> list[Message]:
    """Take messages that are due, so that no other process sends them meanwhile.

    Args:
        connection: in a write transaction.
        kind: the kind of the messages.
        now_us: the time, Unix microseconds.
        lease_us: how long they are the caller's, microseconds; then they are due again.
        most: the most messages to take.

    Returns:
        The messages, those first that are due for the longest time.
    """
    columns = [_table[name] for name in Message._fields]
    is_due = (_table.kind == kind, _table.due_us <= now_us)
    # By `due_us` first: that is the order of the index, so that a long queue need not be sorted for each claim.
    of_queue = select(*columns, _table.due_us).where(*is_due).order_by(_table.due_us, _table.id).limit(most)
    # Several processes may do this at once. On PostgreSQL, each skips the messages that another one is claiming.
    of_queue = of_queue.with_for_update(skip_locked=True)
    claimed = []
    for *fields, due_us in connection.execute(of_queue).all():
        values = {"of_id": fields[0], "seen_us": due_us, "until_us": now_us + lease_us, "now_us": now_us}
        # Another process may have claimed it since it was read.
        if connection.execute(_claim, values).rowcount:
            claimed.append(Message(*fields))
    return claimed


def undelivered(connection: Connection, kind: str) -> Sequence[Row[Any]]:
    """Return the rows of all messages of a kind that were not delivered, the oldest first, also those given up."""
    return connection.execute(outbox.select().where(*_to_be_sent(kind)).order_by(_table.id)).all()


def retry(connection: Connection, kind: str, now_us: int) -> int:
    """Make all messages of a kind that were not delivered due now, as if they had not been tried; return how many."""
    return connection.execute(update(outbox).where(*_to_be_sent(kind)).values(due_us=now_us, tries=0)).rowcount


def settle(connection: Connection, message_id: int, delivered_us: int) -> None:
    """Note that a message was delivered, at a time in Unix microseconds."""
    connection.execute(_of_id.values(due_us=None, delivered_us=delivered_us, failure=None), {"of_id": message_id})


def postpone(connection: Connection, message_id: int, due_us: int, failure: str, *, is_untried: bool = False) -> None:
    """Note why a message was not delivered, and when to send it again, Unix microseconds.

    Args:
        connection: in a write transaction.
        message_id: the number of the message.
        due_us: when to send it again.
        failure: why it was not delivered.
        is_untried: whether its receiver has certainly not got it, in this try or before; then the time of the first
            try is removed.
    """
    values: dict[str, Any] = {"due_us": due_us, "failure": failure} | ({"first_tried_us": None} if is_untried else {})
    connection.execute(_if_not_delivered.values(values), {"of_id": message_id})


def give_up(connection: Connection, message_id: int, failure: str) -> None:
    """Note why a message is never sent again, although it was not delivered."""
    connection.execute(_if_not_delivered.values(due_us=None, failure=failure), {"of_id": message_id})


def count_due(connection: Connection, kind: str, now_us: int) -> int:
    """Return how many messages of a kind are due."""
    return connection.scalar(select(func.count()).where(_table.kind == kind, _table.due_us <= now_us)) or 0


def forget_erased(connection: Connection) -> None:
    """Empty the messages about erased users, except those that are still to be sent."""
    erased = select(users.c.id).where(users.c.email == users.c.id)
    is_over = (_table.due_us.is_(None), _table.payload != "", _table.user_id.in_(erased))
    failed = select(_table.id, _table.payload, _table.failure).where(*is_over, _table.failure.is_not(None))
    for message_id, payload, failure in connection.execute(failed).all():
        # Stripe's refusal may quote the customer. The rest of it says what to do about the message.
        customer = json.loads(payload).get("customer")
        if customer:
            connection.execute(_of_id.values(failure=failure.replace(customer, ERASED)), {"of_id": message_id})
    connection.execute(update(outbox).where(*is_over).values(payload=""))
