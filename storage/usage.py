"""The usage log: who requested what, and how it was answered. The database refuses to change its rows."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from storage import idempotency, last_use, reservations, rollup
from storage.append_only import usage_log_deletable
from storage.idempotency import Settlement
from storage.models import usage_log
from storage.rollup import RollupInput
from storage.sqlite import Transaction

# Rows that are deleted in one transaction, so that requests are not blocked for long meanwhile.
PRUNED_AT_ONCE = 10_000
# A page of this many rows is counted within PostgreSQL's timeout for statements.
COUNTED_AT_ONCE = 100_000


class Withheld(Enum):
    """Why the answer of a request may not be sent, although its row is written."""

    GIVEN_BACK = "the images that it had reserved of a quota were given back, since it took too long"
    KEY_LOST = "another request holds its idempotency key by now"


class UsageRow(NamedTuple):
    """One authenticated request.

    Attributes:
        request_id: the id of the request, unique.
        user_id: the user of the key.
        key_id: the key that the request was sent with.
        endpoint: the path of the route.
        method: the HTTP method.
        status: the HTTP status of the answer.
        response_ms: the time until the answer, milliseconds.
        at_us: when the request arrived, Unix microseconds.
        images: what the request cost the user's limit; 0 for everything but an admitted classification.
        billable: the number of images that were answered with predictions.
        model: the model that answered; empty if none did.
        revision: its revision.
        plan: the user's plan when the request arrived; empty if it had none.
        cost_nanos: what the billable images cost, billionths of the currency's unit. This attribute and the following
            ones are no columns of the table.
        takes_quota: whether the request may have reserved images of a quota.
        part_of: the id of the request, if the row is that of one image of it; otherwise empty.
        notes_use: whether to note the key's use with the row.
        settlement: what becomes of the request's idempotency key with the row.
    """

    request_id: str
    user_id: str
    key_id: str
    endpoint: str
    method: str
    status: int
    response_ms: float
    at_us: int
    images: int
    billable: int = 0
    model: str = ""
    revision: str = ""
    plan: str = ""
    cost_nanos: int = 0
    takes_quota: bool = False
    part_of: str = ""
    notes_use: bool = False
    settlement: Settlement | None = None

    def unanswered(self, why: Withheld) -> "UsageRow":
        """Return the row of the same request, if its answer may not be sent."""
        return self._replace(status=_STATUS[why], billable=0, model="", revision="", cost_nanos=0)


# What the caller gets instead.
_STATUS = {Withheld.GIVEN_BACK: 503, Withheld.KEY_LOST: 409}
_insert = insert(usage_log)
_COLUMNS = UsageRow._fields[: UsageRow._fields.index("cost_nanos")]


def record(connection: Transaction, rows: Sequence[UsageRow]) -> Sequence[Withheld | None]:
    """Add rows to the usage log and to its roll-up, settle quotas and keys, and note uses, in one transaction.

    Returns:
        For each row, why its answer may not be sent; None if it may. If it may not, the status of the row says why.
    """
    withheld = _settle_keys(connection, rows, _settle_quotas(connection, rows))
    rows = [row.unanswered(why) if why else row for row, why in zip(rows, withheld, strict=True)]
    connection.execute(_insert, [dict(zip(_COLUMNS, row, strict=False)) for row in rows])
    rollup.add(connection, map(_rollup_input, rows))
    uses = [(row.key_id, row.at_us) for row in rows if row.notes_use]
    if uses:
        last_use.note(connection, uses)
    return withheld


def _settle_quotas(connection: Transaction, rows: Sequence[UsageRow]) -> list[Withheld | None]:
    """Delete the reservations of the requests, or lower them; see `record` for what it returns."""
    withheld: list[Withheld | None] = [None] * len(rows)
    reserved = [(row.user_id, row.request_id, index) for index, row in enumerate(rows) if row.takes_quota]
    # All replicas do this in the same order, which prevents a deadlock.
    for _, request_id, index in sorted(reserved):
        row = rows[index]
        if row.part_of:
            was_reserved = reservations.settle_image(connection, row.part_of)
        else:
            was_reserved = reservations.settle(connection, request_id)
        if row.billable and not was_reserved:
            withheld[index] = Withheld.GIVEN_BACK
    return withheld


def _settle_keys(
    connection: Transaction, rows: Sequence[UsageRow], withheld: list[Withheld | None]
) -> list[Withheld | None]:
    """Settle the idempotency keys, without keeping an answer that may not be sent."""
    settled = [(index, row.settlement) for index, row in enumerate(rows) if row.settlement is not None]
    if not settled:
        return withheld
    settlements = [one._replace(answer=None) if withheld[index] else one for index, one in settled]
    for (index, _), is_given in zip(settled, idempotency.settle(connection, settlements), strict=True):
        if not is_given:
            withheld[index] = Withheld.KEY_LOST
    return withheld


def _rollup_input(row: UsageRow) -> RollupInput:
    counted = (row.user_id, row.endpoint, row.status, row.response_ms, row.at_us, row.images)
    return RollupInput(*counted, row.billable, row.cost_nanos)


def prune(connection: Connection, before_us: int) -> int:
    """Delete up to `PRUNED_AT_ONCE` rows that are older than `before_us`, Unix microseconds. The roll-up stays.

    Returns:
        The number of deleted rows; 0 if none is left.
    """
    oldest = select(usage_log.c.id).where(usage_log.c.at_us < before_us).order_by(usage_log.c.id).limit(PRUNED_AT_ONCE)
    with usage_log_deletable(connection):
        deleted = connection.execute(delete(usage_log).where(usage_log.c.id.in_(oldest.scalar_subquery())))
    return int(deleted.rowcount)


def count_before(connection: Connection, before_us: int, after_id: int) -> tuple[int, int | None]:
    """Count the rows that are older than `before_us`, Unix microseconds, among the next `COUNTED_AT_ONCE` ids.

    Args:
        connection: a connection.
        before_us: the time, Unix microseconds.
        after_id: only rows with a higher id; 0 for the first ones.

    Returns:
        The number of rows, and the id to go on after; None if no row is left.
    """
    last = after_id + COUNTED_AT_ONCE
    of_page = (usage_log.c.id > after_id, usage_log.c.id <= last)
    older = connection.scalar(select(func.count()).where(*of_page, usage_log.c.at_us < before_us)) or 0
    following = connection.scalar(select(func.min(usage_log.c.id)).where(usage_log.c.id > last))
    return older, None if following is None else following - 1


def count(connection: Connection) -> int:
    """Return the number of rows in the usage log."""
    return connection.scalar(select(func.count()).select_from(usage_log)) or 0
