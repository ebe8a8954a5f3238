"""The roll-up: sums over the usage log, updated with each row, so that usage is read quickly from a log of any length.

Response times are counted in logarithmic bins, each 5 % wider than the one before. A percentile computed from the bins
is within 2.5 % of the true one. Source: Masson, Rim, Lee, "DDSketch", VLDB 2019.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select

from storage.models import usage_rollup
from storage.sqlite import Transaction

# The width of the one bucket that covers all time.
ALL_TIME = 0
WIDTHS_S = {"minute": 60, "hour": 3600, "day": 86400}
# Upper bound of a bin, divided by that of the bin before.
GAMMA = 1.05
FIRST_BIN, LAST_BIN = -95, 330  # from about 0.01 ms to three hours

_DIMENSIONS = ("user_id", "width_s", "start_s", "endpoint", "status", "admitted", "bin")
_SUMS = ("requests", "images", "total_ms")
_COLUMNS = _DIMENSIONS + _SUMS


@dataclass(frozen=True, slots=True)
class RollupInput:
    """The part of a usage row that the roll-up counts; see `UsageRow` for the attributes."""

    user_id: str
    endpoint: str
    status: int
    response_ms: float
    at_us: int
    images: int


@dataclass(slots=True)
class Tally:
    """Sums over requests.

    Attributes:
        requests: the number of requests.
        images: the number of images in admitted classifications.
        total_ms: the sum of the response times, milliseconds.
        statuses: the number of requests by HTTP status.
        bins: the number of requests by bin of the response time (see `bin_of`).
    """

    requests: int = 0
    images: int = 0
    total_ms: float = 0.0
    statuses: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    bins: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, row: Sequence[Any]) -> None:
        """Adds a row of the roll-up: status, bin, requests, images, total_ms."""
        status, bin_, requests, images, total_ms = row
        # PostgreSQL returns sums of integers as Decimal.
        requests = int(requests)
        self.requests += requests
        self.images += int(images)
        self.total_ms += total_ms
        self.statuses[status] += requests
        self.bins[bin_] += requests

    @property
    def mean_ms(self) -> float:
        """The mean response time, milliseconds; 0 without requests."""
        return self.total_ms / self.requests if self.requests else 0.0

    def percentile_ms(self, share: float) -> float:
        """Returns a percentile of the response time, milliseconds, within 2.5 %; 0 without requests.

        Args:
            share: the share of requests that took at most the returned time (nearest rank), from 0 to 1.
        """
        rank, seen = math.ceil(share * self.requests), 0
        for bin_ in sorted(self.bins):
            seen += self.bins[bin_]
            if seen >= rank:
                return middle_ms(bin_)
        return 0.0


def bin_of(response_ms: float) -> int:
    """Returns the bin that counts a response time."""
    if response_ms <= 0:
        return FIRST_BIN
    return min(LAST_BIN, max(FIRST_BIN, math.ceil(math.log(response_ms, GAMMA))))


def middle_ms(bin_: int) -> float:
    """Returns the response time that represents a bin: within 2.5 % of every time in it, milliseconds."""
    return 2 * GAMMA**bin_ / (GAMMA + 1)


def add(connection: Transaction, rows: Iterable[RollupInput]) -> None:
    """Adds rows that this transaction writes to the usage log."""
    sums: dict[tuple[str | int, ...], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for row in rows:
        at_s, admitted, bin_ = row.at_us // 1_000_000, int(row.images > 0), bin_of(row.response_ms)
        for width_s in (ALL_TIME, *WIDTHS_S.values()):
            start_s = at_s // width_s * width_s if width_s else 0
            entry = sums[(row.user_id, width_s, start_s, row.endpoint, row.status, admitted, bin_)]
            entry[0] += 1
            entry[1] += row.images
            entry[2] += row.response_ms
    # All replicas lock rows in the same order, which prevents a deadlock.
    values = [dict(zip(_COLUMNS, (*key, *sums[key]), strict=True)) for key in sorted(sums)]
    connection.execute(_upsert(connection.dialect.name), values)


def totals(connection: Connection, user_id: str) -> Tally:
    """Returns the sums over all admitted classifications of the user, at any time."""
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
    """Returns the user's requests in buckets of time, the oldest first, without empty buckets.

    Returns:
        The start (Unix seconds) and the sums of each bucket, and the start of the first bucket beyond `span.most`;
        None if there is none.
    """
    start = usage_rollup.c.start_s
    wanted = [
        usage_rollup.c.user_id == user_id,
        usage_rollup.c.width_s == span.width_s,
        start >= span.from_s,
        start < span.to_s,
    ]
    if span.endpoint is not None:
        wanted.append(usage_rollup.c.endpoint == span.endpoint)
    one_more = select(start).where(*wanted).distinct().order_by(start).limit(span.most + 1)
    starts: Sequence[int] = connection.scalars(one_more).all()
    shown = starts[: span.most]
    after = starts[span.most] if len(starts) > span.most else None
    if not shown:
        return [], None
    tallies = {start_s: Tally() for start_s in shown}
    query = _select_sums(user_id, span.width_s).add_columns(start).where(*wanted, start <= shown[-1]).group_by(start)
    for *counted, start_s in connection.execute(query):
        tallies[start_s].add(counted)
    return list(tallies.items()), after


def forget_minutes_before(connection: Connection, at_s: int) -> None:
    """Deletes the minute buckets that start before `at_s`, Unix seconds. The wider ones stay."""
    old = usage_rollup.c.start_s < at_s
    connection.execute(delete(usage_rollup).where(usage_rollup.c.width_s == WIDTHS_S["minute"], old))


def _select_sums(user_id: str, width_s: int) -> Select[*tuple[int, int, int, int, float]]:
    table = usage_rollup.c
    sums = [func.sum(table[name]) for name in _SUMS]
    return (
        select(table.status, table.bin, *sums)
        .where(table.user_id == user_id, table.width_s == width_s)
        .group_by(table.status, table.bin)
    )


@cache
def _upsert(dialect: str) -> Any:
    """Return the statement that adds to a bucket. Only the dialect of this database is loaded."""
    insert = import_module(f"sqlalchemy.dialects.{dialect}").insert
    statement = insert(usage_rollup)
    added = {name: usage_rollup.c[name] + statement.excluded[name] for name in _SUMS}
    return statement.on_conflict_do_update(index_elements=_DIMENSIONS, set_=added)
