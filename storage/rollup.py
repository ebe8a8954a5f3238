"""The roll-up: sums over the usage log, updated with each row. So usage is read quickly from a log of any length."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, delete, func, literal_column, select, union_all

from storage.clock import MICROSECONDS
from storage.inserts import insert_into
from storage.models import usage_rollup
from storage.sqlite import Transaction
from storage.tally import Tally, bin_of

# The width of the one bucket that covers all time.
ALL_TIME = 0
# Marks the rows of days that count billable images over all endpoints, for quotas.
BILLABLE_BY_DAY = -86400
DAY_S = 86400
WIDTHS_S = {"minute": 60, "hour": 3600, "day": DAY_S}

_DIMENSIONS = ("user_id", "width_s", "start_s", "endpoint", "status", "admitted", "bin")
_SUMS = ("requests", "images", "total_ms", "billable", "cost_nanos")
_COLUMNS = _DIMENSIONS + _SUMS


class RollupInput(NamedTuple):
    """The part of a usage row that the roll-up counts; see `UsageRow` for the attributes."""

    user_id: str
    endpoint: str
    status: int
    response_ms: float
    at_us: int
    images: int
    billable: int = 0
    cost_nanos: int = 0


def add(connection: Transaction, rows: Iterable[RollupInput]) -> None:
    """Add rows that this transaction writes to the usage log."""
    sums: dict[tuple[str | int, ...], list[float]] = defaultdict(lambda: [0, 0, 0.0, 0, 0])
    for row in rows:
        at_s, admitted, bin_ = row.at_us // MICROSECONDS, int(row.images > 0), bin_of(row.response_ms)
        for width_s in (ALL_TIME, *WIDTHS_S.values()):
            start_s = at_s // width_s * width_s if width_s else 0
            _add(sums[(row.user_id, width_s, start_s, row.endpoint, row.status, admitted, bin_)], row)
        if row.billable:
            _add(sums[(row.user_id, BILLABLE_BY_DAY, at_s // DAY_S * DAY_S, "", 0, 1, 0)], row)
    # All replicas lock rows in the same order, which prevents a deadlock.
    values = [dict(zip(_COLUMNS, (*key, *sums[key]), strict=True)) for key in sorted(sums)]
    connection.execute(_upsert(connection.dialect.name), values)


def _add(sums: list[float], row: RollupInput) -> None:
    sums[0] += 1
    sums[1] += row.images
    sums[2] += row.response_ms
    sums[3] += row.billable
    sums[4] += row.cost_nanos


def totals(connection: Connection, user_id: str) -> Tally:
    """Return the sums over all admitted classifications of the user, at any time."""
    tally = Tally()
    for row in connection.execute(_select_sums(user_id, ALL_TIME).where(usage_rollup.c.admitted == 1)):
        tally.add(row)
    return tally


@dataclass(frozen=True, slots=True)
class Span:
    """Selects buckets.

    Attributes:
        width_s: the width of a bucket, seconds; one of `WIDTHS_S`.
        from_s: the earliest start of a bucket, Unix seconds.
        to_s: the end of the span, Unix seconds; a bucket that starts at it is not selected.
        endpoint: only requests to this endpoint; None: to all.
        most: the largest number of buckets to return.
    """

    width_s: int
    from_s: int
    to_s: int
    endpoint: str | None
    most: int


def buckets(connection: Connection, user_id: str, span: Span) -> tuple[list[tuple[int, Tally]], int | None]:
    """Return the user's requests in buckets of time, the oldest first, without empty buckets.

    Returns:
        The start (Unix seconds) and the sums of each bucket, and the start of the first bucket beyond `span.most`;
        None if there is none.
    """
    start = usage_rollup.c.start_s
    wanted = _selected(user_id, span.endpoint, span.width_s, span.from_s)
    one_more = select(start).where(*wanted, start < span.to_s).distinct().order_by(start).limit(span.most + 1)
    starts: Sequence[int] = connection.scalars(one_more).all()
    shown = starts[: span.most]
    after = starts[span.most] if len(starts) > span.most else None
    if not shown:
        return [], None
    tallies = {start_s: Tally() for start_s in shown}
    # Only one upper bound: with two, SQLite would read as far as the first of them.
    query = _select_sums(user_id, span.width_s).add_columns(start).where(*wanted, start <= shown[-1]).group_by(start)
    for *counted, start_s in connection.execute(query):
        tallies[start_s].add(counted)
    return list(tallies.items()), after


def total(connection: Connection, user_id: str, span: Span) -> tuple[int | None, int]:
    """Return the billable images of all buckets that the span selects, and their cost, billionths.

    Whole hours and days are read as such, so that a span of years is quickly added up. `span.most` does not matter.
    """
    table = usage_rollup.c
    sums = [func.sum(table[name]).label(name) for name in ("requests", "billable", "cost_nanos")]
    # A query for each part: if one had them all, joined by OR, SQLite would read all that the user has.
    of_parts = [
        select(*sums).where(*_selected(user_id, span.endpoint, width_s, from_s), table.start_s < to_s)
        for width_s, from_s, to_s in _parts(span)
        if from_s < to_s
    ]
    found = connection.execute(union_all(*of_parts)).all() if of_parts else []
    billable = [row.billable for row in found if row.billable is not None]
    if not billable:
        return (None if any(row.requests for row in found) else 0), 0
    # A part without a bucket has sums of NULL.
    return int(sum(billable)), int(sum(row.cost_nanos or 0 for row in found))


def _selected(user_id: str, endpoint: str | None, width_s: int, from_s: int) -> list[ColumnElement[bool]]:
    """Return the conditions that select the user's buckets of a width from a time on."""
    table = usage_rollup.c
    wanted = [table.user_id == user_id, table.width_s == width_s, table.start_s >= from_s]
    return wanted if endpoint is None else [*wanted, table.endpoint == endpoint]


def _parts(span: Span) -> list[tuple[int, int, int]]:
    """Divide a span into the widest buckets: the width, the start and the end of each part, seconds."""
    widths_s = [width_s for width_s in WIDTHS_S.values() if width_s >= span.width_s]
    from_s, to_s = span.from_s, -(-span.to_s // span.width_s) * span.width_s
    parts = []
    for width_s, wider_s in pairwise(widths_s):
        first_s = min(-(-from_s // wider_s) * wider_s, to_s)
        last_s = max(to_s // wider_s * wider_s, first_s)
        parts += [(width_s, from_s, first_s), (width_s, last_s, to_s)]
        from_s, to_s = first_s, last_s
    return [*parts, (widths_s[-1], from_s, to_s)]


def forget_minutes_before(connection: Connection, at_s: int) -> None:
    """Delete the minute buckets that start before `at_s`, Unix seconds. The wider ones stay."""
    old = usage_rollup.c.start_s < at_s
    connection.execute(delete(usage_rollup).where(usage_rollup.c.width_s == WIDTHS_S["minute"], old))


def _select_sums(user_id: str, width_s: int) -> Select[*tuple[Any, ...]]:
    table = usage_rollup.c
    sums = [func.sum(table[name]) for name in _SUMS]
    return (
        select(table.status, table.bin, *sums)
        .where(table.user_id == user_id, table.width_s == width_s)
        .group_by(table.status, table.bin)
    )


@cache
def _upsert(dialect: str) -> Any:
    """Return the statement that adds to a bucket."""
    statement = insert_into(usage_rollup, dialect)
    # NULL: the rows so far were logged before billable images were counted.
    added = {
        name: func.coalesce(usage_rollup.c[name], literal_column("0")) + statement.excluded[name] for name in _SUMS
    }
    return statement.on_conflict_do_update(index_elements=_DIMENSIONS, set_=added)
