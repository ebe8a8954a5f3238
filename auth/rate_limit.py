"""The limit of each user: an exact sliding window, told to the caller in every answer of a classification route."""

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
from web.problem import Problem, store_away
from web.routes import Cost, Route


class RateLimit:
    """Admits a request whose route costs something, for one hit for each image, or refuses it at no cost.

    Where it costs as many as the body holds, the route counts them by `RequestContext.pay`; a body that can't be read
    costs one.

    Args:
        app: what lies behind the limit.
        store: where hits are counted.
        overload: the reason why nothing of a user can be taken just now; it is asked before a hit is spent.
    """

    def __init__(self, app: ASGIApp, store: Store, overload: Callable[[str], Problem | None]) -> None:
        self.app = app
        self.store = store
        self.overload = overload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = context.of(scope).match.route if scope["type"] == "http" else None
        if route is None or route.cost is Cost.NOTHING:
            return await self.app(scope, receive, send)
        admission = _Admission(self.store, scope)
        try:
            await self._admit(admission, route)
        except Problem as problem:
            return await context.refuse(problem, scope, receive, admission.telling(send))
        if route.cost is Cost.ONE_IMAGE:
            return await self.app(scope, receive, admission.telling(send))
        context.of(scope).pay = admission.hit

        async def send_paid(message: Message) -> None:
            if message["type"] == "http.response.start" and admission.is_due(message["status"]):
                with suppress(Problem):
                    await admission.hit(1)
            await admission.telling(send)(message)

        await self.app(scope, receive, send_paid)

    async def _admit(self, admission: "_Admission", route: Route) -> None:
        missing = scope_missing(route, admission.caller)
        if missing is not None:
            await admission.look(cost=0)
            raise missing
        overload = self.overload(admission.caller.user_id)
        if overload is not None:
            await admission.remember()
            raise overload
        if route.cost is Cost.ONE_IMAGE:
            await admission.hit(1)
        else:
            await admission.look(cost=1)


class _Admission:
    """What one request has asked of its user's limits, and what it was told."""

    def __init__(self, store: Store, scope: Scope) -> None:
        self.caller = identity.caller(scope)
        self.was_asked_to_pay = False
        self._store = store
        self._request = context.of(scope)
        # Until a limit could be asked, nobody can tell what is left; what the limits are is known.
        self._headers = {"RateLimit-Policy": _policies(self.caller.limits)}

    async def look(self, cost: int) -> None:
        """Refuse what would be refused, and count nothing."""
        self._heed(await self._asked(self._store.standing(self.caller.user_id, self.caller.limits, cost)), cost)

    async def remember(self) -> None:
        """Where the user stood a moment ago, if that is known: what is refused for overload is to cost little."""
        known = self._store.cached_standing(self.caller.user_id)
        if known is None:
            await self.look(cost=0)
        else:
            self._heed(known, 0)

    async def hit(self, cost: int) -> None:
        """Count so many images, or refuse them."""
        self.was_asked_to_pay = True
        asked = self._store.hit(self.caller.user_id, self.caller.limits, cost, self.caller.hits_kept_s)
        self._heed(await self._asked(asked), cost)
        self._request.images = cost

    def is_due(self, status: int) -> bool:
        """Whether an answer of that status costs a hit: it is the caller's fault, or a body was read for it."""
        is_of_body = status >= 500 and self._request.has_body
        return not self.was_asked_to_pay and (400 <= status < 500 or is_of_body)

    def telling(self, send: Send) -> Send:
        """`send`, with where the user stands in the answer's headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": list(message["headers"])}
                MutableHeaders(raw=message["headers"]).update(self._headers)
            await send(message)

        return send_with_headers

    async def _asked(self, answer: Awaitable[Decision]) -> Decision:
        try:
            return await answer
        except StorageUnavailable as error:
            raise store_away(error.caller) from None

    def _heed(self, decision: Decision, cost: int) -> None:
        self._headers = rate_limit_headers(decision)
        # A limit that was lowered may be overdrawn: that refuses nobody who only looks.
        if cost and not decision.admitted:
            raise _limit_reached(decision, cost)


def _limit_reached(decision: Decision, cost: int) -> Problem:
    wait_s = math.ceil(decision.wait_s)
    reached = [standing.limit for standing in decision.standings if standing.wait_s > 0]
    written, smallest = ", ".join(map(str, reached)), min(limit.quota for limit in reached)
    if cost > smallest:
        detail = f"The batch of {cost} images is more than your limit of {written}; send at most {smallest} at once."
    else:
        detail = f"Your limit of {written} is reached; send the request again in {wait_s} s."
    return Problem(429, detail, {"Retry-After": str(wait_s)})


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
