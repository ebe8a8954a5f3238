"""Limits the hits of each user by an exact sliding window. All answers of classification routes show what is left."""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth import identity
from auth.authentication import scope_missing
from storage.errors import StorageUnavailable
from storage.policy import Decision, Limit
from storage.store import Store
from web import context
from web.context import RequestContext
from web.problem import Problem, storage_unavailable
from web.routes import Cost, Route


class RateLimit:
    """Admits a request to a route that costs hits, and counts one hit for each image; or refuses it, and counts none.

    For a route that costs one hit for each image in the body, the route itself counts them, by `RequestContext.pay`. If
    it can't read the body, the request costs one hit.

    Args:
        app: the app behind the limit.
        store: counts the hits.
        refusal: returns the problem if a request can't be answered whatever its body is: no image of its user can be
            taken now, or it is for another model. It is called before a hit is counted.
    """

    def __init__(self, app: ASGIApp, store: Store, refusal: Callable[[RequestContext], Problem | None]) -> None:
        self.app = app
        self.store = store
        self.refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = context.of(scope).match.route if scope["type"] == "http" else None
        if route is None or route.cost is Cost.NOTHING:
            return await self.app(scope, receive, send)
        limit_check = _LimitCheck(self.store, scope)
        try:
            await self._admit(limit_check, route, context.of(scope))
        except Problem as problem:
            return await context.send_problem(problem, scope, receive, limit_check.with_headers(send))
        if route.cost is Cost.ONE_IMAGE or context.of(scope).answer_without_hit is not None:
            return await self.app(scope, receive, limit_check.with_headers(send))
        context.of(scope).pay = limit_check.hit

        async def send_paid(message: Message) -> None:
            if message["type"] == "http.response.start" and limit_check.owes_hit(message["status"]):
                with suppress(Problem):
                    await limit_check.hit(1)
            await limit_check.with_headers(send)(message)

        await self.app(scope, receive, send_paid)

    async def _admit(self, limit_check: "_LimitCheck", route: Route, request: RequestContext) -> None:
        missing = scope_missing(route, limit_check.caller)
        if missing is not None:
            await limit_check.check(cost=0)
            raise missing
        if request.answer_without_hit is not None:
            return await limit_check.check(cost=0)
        refusal = self.refusal(request)
        if refusal is not None:
            await limit_check.use_cached()
            raise refusal
        if route.cost is Cost.ONE_IMAGE:
            await limit_check.hit(1)
        else:
            await limit_check.check(cost=1)


class _LimitCheck:
    """Checks one request against the limits of its user, and keeps the headers that show the result.

    Attributes:
        caller: the API key of the request.
        was_asked_to_pay: whether hits of the request were counted, or refused.
    """

    def __init__(self, store: Store, scope: Scope) -> None:
        self.caller = identity.caller(scope)
        self.was_asked_to_pay = False
        self._store = store
        self._request = context.of(scope)
        # What is left is unknown until the limits have been checked; the limits themselves are known.
        self._headers = {"RateLimit-Policy": _policies(self.caller.limits)}

    async def check(self, cost: int) -> None:
        """Check the limits without counting a hit.

        Raises:
            Problem: 429, `cost` hits would be refused; 503, the database does not answer.
        """
        self._apply(await self._decision(self._store.standing(self.caller.user_id, self.caller.limits, cost)), cost)

    async def use_cached(self) -> None:
        """Show what was left a moment ago, if that is known, since refusing a request for overload must be cheap.

        Raises:
            Problem: 503, it is not known, and the database does not answer.
        """
        known = self._store.cached_standing(self.caller.user_id)
        if known is None:
            await self.check(cost=0)
        else:
            self._apply(known, 0)

    async def hit(self, cost: int) -> None:
        """Count `cost` hits.

        Raises:
            Problem: 429, the hits exceed a limit, and none is counted; 503, the database does not answer.
        """
        self.was_asked_to_pay = True
        asked = self._store.hit(self.caller.user_id, self.caller.limits, cost, self.caller.hits_kept_s)
        self._apply(await self._decision(asked), cost)
        self._request.images = cost

    def owes_hit(self, status: int) -> bool:
        """Return whether an error costs a hit: it is the caller's fault, or the service has read a body for it."""
        is_after_body = status >= 500 and self._request.has_body
        return not self.was_asked_to_pay and (400 <= status < 500 or is_after_body)

    def with_headers(self, send: Send) -> Send:
        """Return a `send` that adds the rate limit headers to the answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": list(message["headers"])}
                MutableHeaders(raw=message["headers"]).update(self._headers)
            await send(message)

        return send_with_headers

    async def _decision(self, answer: Awaitable[Decision]) -> Decision:
        try:
            return await answer
        except StorageUnavailable as error:
            raise storage_unavailable(error.caller) from None

    def _apply(self, decision: Decision, cost: int) -> None:
        self._headers = rate_limit_headers(decision)
        # After a limit was lowered, a user's hits may exceed it. A check of no hits must pass all the same.
        if cost and not decision.admitted:
            raise _limit_reached(decision, cost)


def _limit_reached(decision: Decision, cost: int) -> Problem:
    wait_s = math.ceil(decision.wait_s)
    reached = [standing.limit for standing in decision.standings if standing.wait_s > 0]
    names, smallest = ", ".join(map(str, reached)), min(limit.quota for limit in reached)
    if cost > smallest:
        detail = f"The batch of {cost} images is more than your limit of {names}; send at most {smallest} at once."
    else:
        detail = f"Your limit of {names} is reached; send the request again in {wait_s} s."
    return Problem(429, detail, {"Retry-After": str(wait_s)})


def policy_names(limits: Sequence[Limit]) -> list[str]:
    """Return the policy name of each limit: "default" for the first, for others the limit as text, such as "20/10s"."""
    return ["default", *map(str, limits[1:])]


def rate_limit_headers(decision: Decision) -> dict[str, str]:
    """Return `RateLimit-Policy` and `RateLimit`, in the syntax of draft-ietf-httpapi-ratelimit-headers-10."""
    limits = [standing.limit for standing in decision.standings]
    standings = [
        f'"{name}";r={standing.remaining};t={math.ceil(standing.reset_s)}'
        for name, standing in zip(policy_names(limits), decision.standings, strict=True)
    ]
    return {"RateLimit-Policy": _policies(limits), "RateLimit": ", ".join(standings)}


def _policies(limits: Sequence[Limit]) -> str:
    named = zip(policy_names(limits), limits, strict=True)
    return ", ".join(f'"{name}";q={limit.quota};w={limit.window_s}' for name, limit in named)
