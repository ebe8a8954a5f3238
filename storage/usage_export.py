"""Reads the usage log page by page, so that an export of any length takes little memory and no long statement."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, func, select

from storage.models import usage_log

# A page of this many rows is read within PostgreSQL's timeout for statements.
ROWS_AT_ONCE = 10_000

T = TypeVar("T")
# Runs a query in a transaction of its own.
Ask = Callable[[Callable[[Connection], T]], T]


class ExportedRow(NamedTuple):
    """One row of the usage log; see `usage.UsageRow`. `billable` is None if the row is older than this column."""

    at_us: int
    request_id: str
    user_id: str
    key_id: str
    endpoint: str
    method: str
    status: int
    response_ms: float
    images: int
    billable: int | None
    model: str
    revision: str
    plan: str


_columns = [usage_log.c[name] for name in ExportedRow._fields]


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects rows of the usage log.

    Attributes:
        from_us: the earliest arrival of a request, Unix microseconds.
        to_us: the end of the span, Unix microseconds; a request that arrived at it is not selected.
        user_id: only requests of this user; None: of all users.
    """

    from_us: int
    to_us: int
    user_id: str | None


def pages(ask: Ask[tuple[list[ExportedRow], int | None]], wanted: Selection) -> Iterator[list[ExportedRow]]:
    """Yield the selected rows in the order in which they were logged, page by page. A page may be empty.

    Rows that are logged meanwhile are left out if they come after the last page.

    Args:
        ask: runs a query; each page is a transaction of its own.
        wanted: selects the rows.
    """
    after_id: int | None = 0
    while after_id is not None:
        rows, after_id = ask(partial(_page, wanted=wanted, after_id=after_id))
        yield rows


def _page(connection: Connection, wanted: Selection, after_id: int) -> tuple[list[ExportedRow], int | None]:
    """Return the selected rows among the next ids, and the id to go on after; None if no row is left."""
    last = after_id + ROWS_AT_ONCE
    conditions = [
        usage_log.c.id > after_id,
        usage_log.c.id <= last,
        usage_log.c.at_us >= wanted.from_us,
        usage_log.c.at_us < wanted.to_us,
    ]
    if wanted.user_id is not None:
        conditions.append(usage_log.c.user_id == wanted.user_id)
    found = connection.execute(select(*_columns).where(*conditions).order_by(usage_log.c.id))
    following = connection.scalar(select(func.min(usage_log.c.id)).where(usage_log.c.id > last))
    return list(map(ExportedRow._make, found)), None if following is None else following - 1
