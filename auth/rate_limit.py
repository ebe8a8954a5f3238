"""Limits each user by exact sliding windows and calendar quotas. Classification answers show what is left of them."""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth import identity
from auth.authentication import scope_missing
from storage.errors import StorageUnavailable
from storage.policy import Decision, Limit
from storage.quotas import Quota, QuotaStanding
from storage.reservations import QuotaRequest
from storage.store import Store
from web import context
from web.context import RequestContext
from web.problem import Problem, storage_unavailable
from web.routes import Cost, Route

MOST_KEPT_POLICIES = 1_000
# The type of this problem, as draft-ietf-httpapi-ratelimit-headers-10 names it.
QUOTA_EXCEEDED = "quota-exceeded"


class RateLimit:
    """Admits a request to a route that costs hits, and counts one hit for each image; or refuses it, and counts none.

    For a route that costs one hit for each image in the body, the route itself counts them, by `RequestContext.pay`. If
    it can't read the body, the request costs one hit.

    Args:
        app: the app behind the limit.
        store: counts the hits.
        refusal: returns a problem if the request can't be answered, since the queue has no place for its user, or it
            names another model. This is known without the body. It is called before a hit is counted.
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
                    await limit_check.hit_for_error()
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
        self._headers: dict[str, str] | None = None

    async def check(self, cost: int) -> None:
        """Check the limits without counting a hit.

        Raises:
            Problem: 429, `cost` hits would be refused; 503, the database does not answer.
        """
        quota = self._quota_request(cost)
        asked = self._store.standing(self.caller.user_id, self.caller.limits, cost, quota)
        self._apply(await self._decision(asked), cost)

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
        """Count `cost` hits, and reserve as many images of the user's quotas until the usage row is written.

        Raises:
            Problem: 429, the hits exceed a limit or a quota, and none is counted; 503, the database does not answer.
        """
        quota = self._quota_request(cost)
        self._request.takes_quota = quota is not None
        await self._hit(cost, quota)

    async def hit_for_error(self) -> None:
        """Count the hit of a request that is not answered with predictions, and so takes nothing of a quota.

        Raises:
            Problem: as `hit` does.
        """
        await self._hit(1, self._quota_request(0))

    def owes_hit(self, status: int) -> bool:
        """Return whether an error costs a hit: it is the caller's fault, or the service has read a body for it."""
        is_after_body = status >= 500 and self._request.has_body
        return not self.was_asked_to_pay and (400 <= status < 500 or is_after_body)

    def with_headers(self, send: Send) -> Send:
        """Return a `send` that adds the rate limit headers to the answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = self._headers or self._headers_unchecked()
                own = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        return send_with_headers

    def _headers_unchecked(self) -> dict[str, str]:
        """Return the header that is known before the limits are checked: the limits, without what is left of them."""
        quotas, at_us = self.caller.quotas, self._request.arrived_us
        windows_s = [quota.period_at(at_us).length_s for quota in quotas]
        policies = [*_limit_policies(self.caller.limits), *_quota_policies(quotas, windows_s)]
        return {"RateLimit-Policy": ", ".join(policies)}

    async def _hit(self, cost: int, quota: QuotaRequest | None) -> None:
        self.was_asked_to_pay = True
        asked = self._store.hit(self.caller.user_id, self.caller.limits, cost, self.caller.hits_kept_s, quota)
        self._apply(await self._decision(asked), cost)
        self._request.images = cost

    def _quota_request(self, images: int) -> QuotaRequest | None:
        if not self.caller.quotas:
            return None
        request, caller = self._request, self.caller
        asked = (caller.user_id, caller.quotas, request.usage_id, images, request.arrived_us)
        return QuotaRequest(*asked, self._store.tells_owner)

    async def _decision(self, answer: Awaitable[Decision]) -> Decision:
        try:
            return await answer
        except StorageUnavailable as error:
            raise storage_unavailable(error.caller) from None

    def _apply(self, decision: Decision, cost: int) -> None:
        self._headers = rate_limit_headers(decision)
        # After a limit was lowered, a user's hits may exceed it. A check without cost must pass even then.
        if cost and not decision.admitted:
            exceeded = [standing for standing in decision.quotas if standing.wait_s > 0]
            raise _quota_exceeded(decision, exceeded, cost) if exceeded else _limit_reached(decision, cost)


def _quota_exceeded(decision: Decision, exceeded: list[QuotaStanding], cost: int) -> Problem:
    wait_s = math.ceil(decision.wait_s)
    quota, left = exceeded[0].quota, min(standing.remaining for standing in exceeded)
    if left:
        detail = f"The batch of {cost} images is more than your quota of {quota} has left; send at most {left} at once."
    else:
        detail = f"Your quota of {quota} is used up; send the request again in {wait_s} s, or ask for a larger quota."
    return Problem(
        429,
        detail,
        {"Retry-After": str(wait_s)},
        kind="quota",
        type=QUOTA_EXCEEDED,
        title="The quota is exceeded",
    )


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


def quota_names(quotas: Sequence[Quota]) -> list[str]:
    """Return the policy name of each quota: "quota" for the first, for another such as "quota-day"."""
    return [f"quota-{quota.period}" if index else "quota" for index, quota in enumerate(quotas)]


def rate_limit_headers(decision: Decision) -> dict[str, str]:
    """Return `RateLimit-Policy` and `RateLimit`, in the syntax of draft-ietf-httpapi-ratelimit-headers-10."""
    limits = tuple(standing.limit for standing in decision.standings)
    quotas = [standing.quota for standing in decision.quotas]
    names = [*policy_names(limits), *quota_names(quotas)]
    left = [(standing.remaining, standing.reset_s) for standing in decision.standings]
    left += [(standing.remaining, standing.reset_s) for standing in decision.quotas]
    standings = [
        f'"{name}";r={remaining};t={math.ceil(reset_s)}' for name, (remaining, reset_s) in zip(names, left, strict=True)
    ]
    windows_s = [standing.window_s for standing in decision.quotas]
    policies = [*_limit_policies(limits), *_quota_policies(quotas, windows_s)]
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(standings)}


@lru_cache(MOST_KEPT_POLICIES)
def _limit_policies(limits: tuple[Limit, ...]) -> list[str]:
    named = zip(policy_names(limits), limits, strict=True)
    return [f'"{name}";q={limit.quota};w={limit.window_s}' for name, limit in named]


def _quota_policies(quotas: Sequence[Quota], windows_s: Sequence[int]) -> list[str]:
    named = zip(quota_names(quotas), quotas, windows_s, strict=True)
    return [f'"{name}";q={quota.images};w={window_s}' for name, quota, window_s in named]
