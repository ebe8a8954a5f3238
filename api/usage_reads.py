"""The routes that show a caller its usage, and what is left of its limits."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from api.fields import in_utc
from api.json_route import JsonRoute, read_query
from api.read_schemas import (
    Cost,
    Limits,
    Policy,
    ResponseTime,
    Usage,
    UsageBucket,
    UsageQuery,
    UsageTotal,
    UsageTotals,
)
from api.routes import ROUTES
from auth import identity
from auth.rate_limit import policy_names, quota_names
from storage.clock import LAST_SECOND, MICROSECONDS
from storage.policy import Standing
from storage.prices import write_amount
from storage.quotas import QuotaStanding
from storage.reservations import QuotaRequest
from storage.rollup import WIDTHS_S, Span
from storage.store import Store
from storage.tally import Tally
from web import context
from web.problem import Problem

BUCKETS_PER_PAGE = 100
# How far back usage is shown if the query has no `from`, seconds, by the width of a bucket.
DEFAULT_SPAN_S = {"minute": 3600, "hour": 86400, "day": 30 * 86400}
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


def routes(store: Store) -> list[JsonRoute]:
    """Return the routes of the caller's usage and limits.

    Args:
        store: holds the usage log and the limits.
    """

    async def usage_totals(request: Request) -> UsageTotals:
        """The caller's own classification requests that passed the limit."""
        tally = await store.usage_totals(identity.caller(request.scope).user_id)
        successful = sum(requests for status, requests in tally.statuses.items() if status < 400)
        return UsageTotals(
            total_requests=tally.requests,
            successful_requests=successful,
            success_rate=round(100 * successful / tally.requests, 2) if tally.requests else 0.0,
            avg_response_time_ms=round(tally.mean_ms, 2),
        )

    async def usage_by_time(request: Request) -> Usage:
        """The caller's requests in buckets of time. `from` and `to` are in ISO 8601, in UTC if they name no zone."""
        query = read_query(request, UsageQuery)
        caller = identity.caller(request.scope)
        return Usage(**await counted(store, caller.user_id, caller.currency, query))

    async def limits(request: Request) -> Limits:
        """Each limit and quota of the caller, and what is left of it. This request costs no hit."""
        caller, asked = identity.caller(request.scope), context.of(request.scope)
        quota = QuotaRequest(caller.user_id, caller.quotas, asked.usage_id, 0, asked.arrived_us)
        decision = await store.standing(caller.user_id, caller.limits, 0, quota if caller.quotas else None)
        names = policy_names(caller.limits) + quota_names([standing.quota for standing in decision.quotas])
        standings: list[Standing | QuotaStanding] = [*decision.standings, *decision.quotas]
        return Limits(policies=[_policy(name, standing) for name, standing in zip(names, standings, strict=True)])

    return [
        JsonRoute("/v1/usage", usage_totals, UsageTotals),
        JsonRoute("/v2/usage", usage_by_time, Usage, UsageQuery),
        JsonRoute("/v2/limits", limits, Limits),
    ]


def _policy(name: str, standing: Standing | QuotaStanding) -> Policy:
    if isinstance(standing, Standing):
        rule, images, window_s = str(standing.limit), standing.limit.quota, standing.limit.window_s
    else:
        rule, images, window_s = str(standing.quota), standing.quota.images, standing.window_s
    reset_s = math.ceil(standing.reset_s)
    return Policy(name=name, limit=rule, quota=images, window=window_s, remaining=standing.remaining, reset=reset_s)


async def counted(store: Store, user_id: str, currency: str | None, query: UsageQuery) -> dict[str, Any]:
    """Return the fields of `Usage`: the requests of a user in buckets of time.

    Args:
        store: holds the usage log.
        user_id: the user.
        currency: the currency in which the user pays; None: no plan had a price yet.
        query: selects the requests.

    Raises:
        Problem: 422, the query has its end before its start.
    """
    to_s = _unix_s(query.until) if query.until else int(store.now_us() // MICROSECONDS) + 1
    from_s = _unix_s(query.since) if query.since else to_s - DEFAULT_SPAN_S[query.bucket]
    if from_s >= to_s:
        raise Problem(422, "The field 'from' must be before 'to'.", field="from")
    width_s = WIDTHS_S[query.bucket]
    # A bucket that begins before the span is shown whole.
    endpoint = None if query.endpoint is None else _name_of(query.endpoint)
    whole = Span(width_s, from_s // width_s * width_s, to_s, endpoint, BUCKETS_PER_PAGE)
    page = whole if query.cursor is None else replace(whole, from_s=query.cursor)
    found, after = await store.usage_buckets(user_id, page)
    billable, cost_nanos = await store.usage_total(user_id, whole)
    return {
        "bucket": query.bucket,
        "start": _iso(from_s),
        "end": _iso(to_s),
        "endpoint": query.endpoint,
        "total": UsageTotal(billable_images=billable, cost=cost(cost_nanos, currency)),
        "data": [_bucket(start_s, tally, currency) for start_s, tally in found],
        "next_cursor": str(after) if after is not None else None,
    }


def _name_of(path: str) -> str:
    """Return the name in the usage log of a path: that of its route, such as `/models/{name}`, or else the path."""
    match = ROUTES.match("", path.encode())
    return match.name if match.methods else path


def _bucket(start_s: int, tally: Tally, currency: str | None) -> UsageBucket:
    classes = {f"{digit}xx": 0 for digit in (2, 3, 4, 5)}
    for status, requests in tally.statuses.items():
        # 101 is the answer to a WebSocket handshake; most callers open none.
        name = f"{status // 100}xx"
        classes[name] = classes.get(name, 0) + requests
    shares = {name: round(tally.percentile_ms(share), 2) for name, share in PERCENTILES.items()}
    return UsageBucket(
        start=_iso(start_s),
        requests=tally.requests,
        images=tally.images,
        billable_images=tally.billable,
        cost=cost(tally.cost_nanos, currency),
        status=classes,
        response_time_ms=ResponseTime(mean=round(tally.mean_ms, 2), **shares),
    )


def cost(nanos: int, currency: str | None) -> Cost | None:
    """Return a cost, given in billionths of the currency's unit; None if there is no currency."""
    return Cost(amount=write_amount(nanos), currency=currency) if currency is not None else None


def _unix_s(time: datetime) -> int:
    return min(LAST_SECOND, max(0, int(in_utc(time).timestamp())))


def _iso(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
