"""The ledger added up as it is written, so that what a user has used is told quickly however long the ledger is.

Response times are counted in logarithmic bins, each 5 % wider than the one before: a percentile told from them is
within 2.5 % of the true one. Source: Masson, Rim, Lee, "DDSketch", VLDB 2019.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from storage.models import usage_rollup
from storage.sqlite import Transaction

ALL_TIME = 0
WIDTHS_S = {"minute": 60, "hour": 3600, "day": 86400}
GAMMA = 1.05
FIRST_BIN, LAST_BIN = -95, 330  # from about 0.01 ms to three hours

_DIMENSIONS = ("user_id", "width_s", "start_s", "endpoint", "status", "admitted", "bin")
_SUMS = ("requests", "images", "total_ms")
_COLUMNS = _DIMENSIONS + _SUMS


@dataclass(frozen=True, slots=True)
class Counted:
    """What of a ledger row is added up. Times are Unix microseconds and milliseconds."""

    user_id: str
    endpoint: str
    status: int
    response_ms: float
    at_us: int
    images: int


@dataclass(slots=True)
class Tally:
    """Requests added up: how many, of which status, and how long they took."""

    requests: int = 0
    images: int = 0
    total_ms: float = 0.0
    statuses: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    bins: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def take(self, row: Sequence[Any]) -> None:
        """Add a row of the roll-up: status, bin, requests, images, total_ms."""
        status, bin_, requests, images, total_ms = row
        # PostgreSQL sums whole numbers to decimals.
        requests = int(requests)
        self.requests += requests
        self.images += int(images)
        self.total_ms += total_ms
        self.statuses[status] += requests
        self.bins[bin_] += requests

    @property
    def mean_ms(self) -> float:
        """The mean response time."""
        return self.total_ms / self.requests if self.requests else 0.0

    def percentile_ms(self, share: float) -> float:
        """The response time that this share of the requests did not exceed (nearest rank, within 2.5 %)."""
        rank, seen = math.ceil(share * self.requests), 0
        for bin_ in sorted(self.bins):
            seen += self.bins[bin_]
            if seen >= rank:
                return middle_ms(bin_)
        return 0.0


def bin_of(response_ms: float) -> int:
    """The bin that a response time is counted in."""
    if response_ms <= 0:
        return FIRST_BIN
    return min(LAST_BIN, max(FIRST_BIN, math.ceil(math.log(response_ms, GAMMA))))


def middle_ms(bin_: int) -> float:
    """The response time that stands for a bin: at most 2.5 % from any in it."""
    return 2 * GAMMA**bin_ / (GAMMA + 1)


def add(connection: Transaction, rows: Iterable[Counted]) -> None:
    """Add rows that are being written to the ledger in this transaction."""
    sums: dict[tuple[str | int, ...], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for row in rows:
        at_s, admitted, bin_ = row.at_us // 1_000_000, int(row.images > 0), bin_of(row.response_ms)
        for width_s in (ALL_TIME, *WIDTHS_S.values()):
            start_s = at_s // width_s * width_s if width_s else 0
            entry = sums[(row.user_id, width_s, start_s, row.endpoint, row.status, admitted, bin_)]
            entry[0] += 1
            entry[1] += row.images
            entry[2] += row.response_ms
    # In one order everywhere, so that two replicas never wait for each other in a circle.
    values = [dict(zip(_COLUMNS, (*key, *sums[key]), strict=True)) for key in sorted(sums)]
    connection.execute(_upserts[connection.dialect.name], values)


def totals(connection: Connection, user_id: str) -> Tally:
    """All admitted classifications of the user, since ever."""
    tally = Tally()
    for row in connection.execute(_summed(user_id, ALL_TIME).where(usage_rollup.c.admitted == 1)):
        tally.take(row)
    return tally


@dataclass(frozen=True, slots=True)
class Span:
    """Which buckets are asked for.

    Attributes:
        width_s: of a bucket, one of `WIDTHS_S`.
        from_s, to_s: those that begin in this span, Unix seconds, its end excluded.
        endpoint: what was asked of this one alone.
        most: the most buckets at a time.
    """

    width_s: int
    from_s: int
    to_s: int
    endpoint: str | None
    most: int


def buckets(connection: Connection, user_id: str, span: Span) -> tuple[list[tuple[int, Tally]], int | None]:
    """The user's requests in buckets of time, the oldest first; empty ones are left out.

    Returns:
        Each bucket's start and tally, and the start of the first that was left out for `span.most`.
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
    shown, after = starts[: span.most], starts[span.most] if len(starts) > span.most else None
    if not shown:
        return [], None
    tallies = {start_s: Tally() for start_s in shown}
    question = _summed(user_id, span.width_s).add_columns(start).where(*wanted, start <= shown[-1]).group_by(start)
    for *counted, start_s in connection.execute(question):
        tallies[start_s].take(counted)
    return list(tallies.items()), after


def forget_minutes_before(connection: Connection, at_s: int) -> None:
    """Drop the buckets by the minute that began before; the coarser ones stay."""
    old = usage_rollup.c.start_s < at_s
    connection.execute(delete(usage_rollup).where(usage_rollup.c.width_s == WIDTHS_S["minute"], old))


def _summed(user_id: str, width_s: int) -> Select[*tuple[int, int, int, int, float]]:
    table = usage_rollup.c
    sums = [func.sum(table[name]) for name in _SUMS]
    return (
        select(table.status, table.bin, *sums)
        .where(table.user_id == user_id, table.width_s == width_s)
        .group_by(table.status, table.bin)
    )


def _upsert(insert: Any) -> Any:
    statement = insert(usage_rollup)
    added = {name: usage_rollup.c[name] + statement.excluded[name] for name in _SUMS}
    return statement.on_conflict_do_update(index_elements=_DIMENSIONS, set_=added)


_upserts = {"sqlite": _upsert(sqlite.insert), "postgresql": _upsert(postgresql.insert)}
