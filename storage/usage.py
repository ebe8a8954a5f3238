"""The usage ledger: what was asked, by whom, and how it was answered. The database refuses to change its rows."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from storage import rollup
from storage.append_only import deletable_ledger
from storage.models import usage_log
from storage.rollup import Counted
from storage.sqlite import Transaction

PRUNED_AT_ONCE = 10_000


class UsageRow(NamedTuple):
    """One authenticated request. `at_us` is when it arrived; `images` what it cost the user's limit."""

    request_id: str
    user_id: str
    key_id: str
    endpoint: str
    method: str
    status: int
    response_ms: float
    at_us: int
    images: int


_insert = insert(usage_log)


def record(connection: Transaction, rows: Sequence[UsageRow]) -> Sequence[None]:
    """Add rows to the ledger and to its roll-up, in the same transaction."""
    connection.execute(_insert, [row._asdict() for row in rows])
    rollup.add(connection, map(_counted, rows))
    return [None] * len(rows)


def _counted(row: UsageRow) -> Counted:
    return Counted(row.user_id, row.endpoint, row.status, row.response_ms, row.at_us, row.images)


def prune(connection: Connection, before_us: int) -> int:
    """Delete some of the rows that are older, and say how many; 0: none is left. What was added up of them stays."""
    oldest = select(usage_log.c.id).where(usage_log.c.at_us < before_us).order_by(usage_log.c.id).limit(PRUNED_AT_ONCE)
    with deletable_ledger(connection):
        deleted = connection.execute(delete(usage_log).where(usage_log.c.id.in_(oldest.scalar_subquery())))
    return int(deleted.rowcount)


def count(connection: Connection) -> int:
    """How many rows the ledger has."""
    return connection.scalar(select(func.count()).select_from(usage_log)) or 0
