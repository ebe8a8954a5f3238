"""The limit of each user: an exact sliding window, told to the caller in every answer of a classification route."""

import math

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth import identity
from auth.authentication import scope_missing
from problems import request_id
from problems.problem import Problem, database_away
from storage.errors import StorageUnavailable
from storage.policy import Decision, Standing
from storage.store import Store

CLASSIFY = "classify"


class RateLimit:
    """Admits a classification, at the cost of one hit, or refuses it at no cost.

    Args:
        app: what lies behind the limit.
        store: where hits are counted.
        paths: the classification routes; all others pass freely.
    """

    def __init__(self, app: ASGIApp, store: Store, paths: frozenset[str]) -> None:
        self.app = app
        self.store = store
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self.paths or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        try:
            decision, refusal = await self._decide(scope)
        except StorageUnavailable:
            return await database_away().response(request_id.shown(scope))(scope, receive, send)
        with_standing = _with_headers(send, rate_limit_headers(decision))
        if refusal is None:
            return await self.app(scope, receive, with_standing)
        await refusal.response(request_id.shown(scope))(scope, receive, with_standing)

    async def _decide(self, scope: Scope) -> tuple[Decision, Problem | None]:
        caller = identity.caller(scope)
        assert caller is not None, "authentication stands before the limit"
        if CLASSIFY not in caller.scopes:
            return await self.store.standing(caller.user_id, caller.limits), scope_missing(CLASSIFY)
        decision = await self.store.hit(caller.user_id, caller.limits)
        if not decision.admitted:
            return decision, _limit_reached(decision)
        identity.charge(scope, 1)
        return decision, None


def _limit_reached(decision: Decision) -> Problem:
    wait_s = math.ceil(decision.wait_s)
    reached = ", ".join(str(standing.limit) for standing in decision.standings if standing.wait_s > 0)
    detail = f"Your limit of {reached} is reached; send the request again in {wait_s} s."
    return Problem(429, detail, {"Retry-After": str(wait_s)})


def named(decision: Decision) -> list[tuple[str, Standing]]:
    """Each standing with the name of its policy: the first limit is "default", others go by how they are written."""
    first, *others = decision.standings
    return [("default", first)] + [(str(standing.limit), standing) for standing in others]


def rate_limit_headers(decision: Decision) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit` in the syntax of draft-ietf-httpapi-ratelimit-headers-10."""
    policies, standings = [], []
    for name, standing in named(decision):
        policies.append(f'"{name}";q={standing.limit.quota};w={standing.limit.window_s}')
        standings.append(f'"{name}";r={standing.remaining};t={math.ceil(standing.reset_s)}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(standings)}


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": list(message["headers"])}
            MutableHeaders(raw=message["headers"]).update(headers)
        await send(message)

    return send_with_headers
