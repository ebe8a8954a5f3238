"""The limit of each user: an exact sliding window, told to the caller in every answer of a classification route."""

import math
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth import identity
from auth.authentication import scope_missing
from problems import request_id
from problems.problem import Problem, database_away
from storage.errors import StorageUnavailable
from storage.keys import KeyRecord
from storage.policy import Decision, Limit
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
            refusal = database_away()
            # What is left nobody can tell; what the limits are is known.
            refusal.headers["RateLimit-Policy"] = _policies(_caller(scope).limits)
            return await refusal.response(request_id.shown(scope))(scope, receive, send)
        with_standing = _with_headers(send, rate_limit_headers(decision))
        if refusal is None:
            return await self.app(scope, receive, with_standing)
        await refusal.response(request_id.shown(scope))(scope, receive, with_standing)

    async def _decide(self, scope: Scope) -> tuple[Decision, Problem | None]:
        caller = _caller(scope)
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


def _caller(scope: Scope) -> KeyRecord:
    caller = identity.caller(scope)
    assert caller is not None, "authentication stands before the limit"
    return caller


def policy_names(limits: Sequence[Limit]) -> list[str]:
    """The name of each limit's policy: the first is "default", others go by how they are written, such as "20/10s"."""
    return ["default", *map(str, limits[1:])]


def rate_limit_headers(decision: Decision) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit` in the syntax of draft-ietf-httpapi-ratelimit-headers-10."""
    limits = [standing.limit for standing in decision.standings]
    standings = [
        f'"{name}";r={standing.remaining};t={math.ceil(standing.reset_s)}'
        for name, standing in zip(policy_names(limits), decision.standings, strict=True)
    ]
    return {"RateLimit-Policy": _policies(limits), "RateLimit": ", ".join(standings)}


def _policies(limits: Sequence[Limit]) -> str:
    named = zip(policy_names(limits), limits, strict=True)
    return ", ".join(f'"{name}";q={limit.quota};w={limit.window_s}' for name, limit in named)


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": list(message["headers"])}
            MutableHeaders(raw=message["headers"]).update(headers)
        await send(message)

    return send_with_headers
