"""The usage log: who requested what, and how it was answered. The database refuses to change its rows."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from storage import idempotency, last_use, rollup
from storage.append_only import usage_log_deletable
from storage.idempotency import Settlement
from storage.models import usage_log
from storage.rollup import RollupInput
from storage.sqlite import Transaction

# Rows that are deleted in one transaction, so that requests are not blocked for long meanwhile.
PRUNED_AT_ONCE = 10_000
# The status of a request that lost its idempotency key to another one: see `record`.
_KEY_LOST = 409
# A page of this many rows is counted within PostgreSQL's timeout for statements.
COUNTED_AT_ONCE = 100_000


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
        notes_use: whether to note the key's use with the row; no column of the table.
        settlement: what becomes of the request's idempotency key with the row; no column of the table.
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
    notes_use: bool = False
    settlement: Settlement | None = None


_insert = insert(usage_log)
_COLUMNS = UsageRow._fields[:-2]


def record(connection: Transaction, rows: Sequence[UsageRow]) -> Sequence[bool]:
    """Adds rows to the usage log and to its roll-up, and notes the keys' use, in one transaction.

    Returns:
        For each row, whether the answer may be given. It may not if the request had an idempotency key, and another
        request holds that by now; its row then has the status 409.
    """
    rows, is_given = _settled(connection, rows)
    connection.execute(_insert, [dict(zip(_COLUMNS, row, strict=False)) for row in rows])
    rollup.add(connection, map(_rollup_input, rows))
    uses = [(row.key_id, row.at_us) for row in rows if row.notes_use]
    if uses:
        last_use.note(connection, uses)
    return is_given


def _settled(connection: Transaction, rows: Sequence[UsageRow]) -> tuple[Sequence[UsageRow], Sequence[bool]]:
    """Settles the idempotency keys; returns the rows as they are to be written, and whether each answer is given."""
    settlements = [row.settlement for row in rows if row.settlement is not None]
    if not settlements:
        return rows, [True] * len(rows)
    outcomes = iter(idempotency.settle(connection, settlements))
    is_given = [row.settlement is None or next(outcomes) for row in rows]
    return [
        row if given else row._replace(status=_KEY_LOST) for row, given in zip(rows, is_given, strict=True)
    ], is_given


def _rollup_input(row: UsageRow) -> RollupInput:
    return RollupInput(row.user_id, row.endpoint, row.status, row.response_ms, row.at_us, row.images)


def prune(connection: Connection, before_us: int) -> int:
    """Deletes up to `PRUNED_AT_ONCE` rows that are older than `before_us`, Unix microseconds. The roll-up stays.

    Returns:
        The number of deleted rows; 0 if none is left.
    """
    oldest = select(usage_log.c.id).where(usage_log.c.at_us < before_us).order_by(usage_log.c.id).limit(PRUNED_AT_ONCE)
    with usage_log_deletable(connection):
        deleted = connection.execute(delete(usage_log).where(usage_log.c.id.in_(oldest.scalar_subquery())))
    return int(deleted.rowcount)


def count_before(connection: Connection, before_us: int, after_id: int) -> tuple[int, int | None]:
    """Counts the rows that are older than `before_us`, Unix microseconds, among the next `COUNTED_AT_ONCE` ids.

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
    """Returns the number of rows in the usage log."""
    return connection.scalar(select(func.count()).select_from(usage_log)) or 0
