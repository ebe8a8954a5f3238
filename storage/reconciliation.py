"""Compares the usage log with its roll-up, and the roll-up with itself: all are to tell the same, to the image.

A difference is a bug, or a change that was made without the service. Each comparison is one statement, so requests that
are logged meanwhile are in both sides or in neither.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, case, func, literal, select, union_all

from storage.clock import MICROSECONDS, iso, unix_us
from storage.models import audit_log, usage_log, usage_rollup
from storage.models import users as users_table
from storage.rollup import ALL_TIME, BILLABLE_BY_DAY, DAY_S, WIDTHS_S

# The days that one statement compares, so that it ends within PostgreSQL's timeout.
_DAYS_AT_ONCE = 31


class Difference(NamedTuple):
    """Two sums that should be the same.

    Attributes:
        user_id: whose.
        day: the day, ISO 8601, UTC; None: all days together.
        what: what is counted: "requests", "admitted" ones, "images", "billable" ones, or "cost_nanos".
        one: the name of the first place.
        in_one: what it says.
        other: the name of the second place.
        in_other: what it says.
    """

    user_id: str
    day: str | None
    what: str
    one: str
    in_one: int
    other: str
    in_other: int


_LOG, _DAYS, _TOTAL, _QUOTAS = "the usage log", "the roll-up of days", "the roll-up of all time", "the count for quotas"
_LOGGED_SUMS = ("requests", "admitted", "images", "billable")
# The log has no costs; it names the plan.
_SUMS = (*_LOGGED_SUMS, "cost_nanos")
_BILLED_SUMS = ("billable", "cost_nanos")


def user_ids(connection: Connection) -> list[str]:
    """Return the ids of all users."""
    return list(connection.scalars(select(users_table.c.id).order_by(users_table.c.id)))


def first_whole_day_s(connection: Connection) -> int:
    """Return the first day, Unix seconds, whose rows are all in the usage log: `prune` deletes older ones."""
    was_pruned = connection.scalar(select(func.count()).where(audit_log.c.action == "prune"))
    if not was_pruned:
        return 0
    # A row from the future, written when the clock was ahead, does not show which rows are left.
    oldest = select(usage_log.c.at_us).where(usage_log.c.at_us <= unix_us()).order_by(usage_log.c.id).limit(1)
    oldest_us = connection.scalar(oldest)
    return 2**62 if oldest_us is None else (oldest_us // MICROSECONDS // DAY_S + 1) * DAY_S


def spans(connection: Connection, user_id: str, from_s: int) -> list[tuple[int, int]]:
    """Return the spans of days, Unix seconds, in which the user has rows; each is compared by one statement."""
    of_log, of_rollup = usage_log.c.user_id == user_id, usage_rollup.c.user_id == user_id
    in_log = connection.execute(select(func.min(usage_log.c.at_us), func.max(usage_log.c.at_us)).where(of_log)).one()
    of_days = (of_rollup, usage_rollup.c.width_s == DAY_S)
    in_rollup = connection.execute(
        select(func.min(usage_rollup.c.start_s), func.max(usage_rollup.c.start_s)).where(*of_days)
    ).one()
    known = [us // MICROSECONDS for us in in_log if us is not None] + [s for s in in_rollup if s is not None]
    if not known or max(known) < from_s:
        return []
    first_s, width_s = max(from_s, min(known) // DAY_S * DAY_S), _DAYS_AT_ONCE * DAY_S
    return [(start_s, start_s + width_s) for start_s in range(first_s, max(known) + 1, width_s)]


def differences_by_day(connection: Connection, user_id: str, span: tuple[int, int]) -> list[Difference]:
    """Compare the usage log, the roll-ups, and what quotas count, for the days of a span."""
    days, compare = (_DAYS, _of_rollup(user_id, span, DAY_S)), partial(_compare, connection, user_id)
    found = [*compare((_LOG, _of_log(user_id, span)), days, _LOGGED_SUMS)]
    for name in ("hour", "minute"):
        # The meter sends the sums of hours, and a span that begins within an hour is billed by its minutes.
        found += compare(days, (f"the roll-up of {name}s", _of_rollup(user_id, span, WIDTHS_S[name])), _SUMS)
    return [*found, *compare(days, (_QUOTAS, _of_rollup(user_id, span, BILLABLE_BY_DAY)), _BILLED_SUMS)]


def differences_in_total(connection: Connection, user_id: str) -> list[Difference]:
    """Compare the roll-up of all time with the sum of its days."""
    days = _of_rollup(user_id, (0, 2**62), DAY_S, literal(0))
    total = _of_rollup(user_id, (0, 1), ALL_TIME)
    return [found._replace(day=None) for found in _compare(connection, user_id, (_DAYS, days), (_TOTAL, total), _SUMS)]


def _compare(
    connection: Connection,
    user_id: str,
    one: tuple[str, Select[Any]],
    other: tuple[str, Select[Any]],
    sums: Sequence[str],
) -> Iterator[Difference]:
    both = union_all(
        one[1].add_columns(literal(1).label("of_one")), other[1].add_columns(literal(0).label("of_one"))
    ).subquery()
    columns = [
        func.sum(both.c[name] * side).label(f"{name}_{number}")
        for name in sums
        for number, side in enumerate((both.c.of_one, 1 - both.c.of_one))
    ]
    for row in connection.execute(select(both.c.day_s, *columns).group_by(both.c.day_s).order_by(both.c.day_s)):
        counted = [int(value) for value in row[1:]]
        for name, in_one, in_other in zip(sums, counted[::2], counted[1::2], strict=True):
            if in_one != in_other:
                day = (iso(row.day_s * MICROSECONDS) or "")[:10]
                yield Difference(user_id, day, name, one[0], in_one, other[0], in_other)


def _of_log(user_id: str, span: tuple[int, int]) -> Select[Any]:
    log, (from_s, to_s) = usage_log.c, span
    return select(
        _day_of(log.at_us // MICROSECONDS),
        literal(1).label("requests"),
        case((log.images > 0, 1), else_=0).label("admitted"),
        log.images.label("images"),
        func.coalesce(log.billable, 0).label("billable"),
        literal(0).label("cost_nanos"),
    ).where(log.user_id == user_id, log.at_us >= from_s * MICROSECONDS, log.at_us < to_s * MICROSECONDS)


def _of_rollup(user_id: str, span: tuple[int, int], width_s: int, day_s: Any = None) -> Select[Any]:
    table, (from_s, to_s) = usage_rollup.c, span
    return select(
        _day_of(table.start_s) if day_s is None else day_s.label("day_s"),
        table.requests.label("requests"),
        (table.requests * table.admitted).label("admitted"),
        table.images.label("images"),
        func.coalesce(table.billable, 0).label("billable"),
        table.cost_nanos.label("cost_nanos"),
    ).where(table.user_id == user_id, table.width_s == width_s, table.start_s >= from_s, table.start_s < to_s)


def _day_of(at_s: ColumnElement[int]) -> ColumnElement[int]:
    return (at_s // DAY_S * DAY_S).label("day_s")
