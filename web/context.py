"""What is known of a request, kept in its ASGI scope for every part of the service that handles it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from web.problem import Problem
from web.routes import Match
from web.timing import Timing

_KEY = "request"


class Caller(Protocol):
    """The API key that a request came with."""

    @property
    def user_id(self) -> str:
        """Whose key it is."""

    @property
    def key_id(self) -> str:
        """Which key it is."""


@dataclass(slots=True)
class RequestContext:
    """What is known of one request. Each field is set by one middleware, and read by those inside of it.

    Attributes:
        path: the path that was asked for, decoded.
        match: the route that the request asks for.
        request_id: the id in the answer and in errors: the caller's own where it sent a valid one.
        usage_id: the id in the usage log, `req_…`: unique, whatever callers send.
        caller: the key, once it was checked.
        has_body: whether bytes of a body have arrived.
        images: what the request cost its user's limit, in images.
        pay: counts so many images against the limit of the user, or raises the problem; for routes whose cost only they
            can count.
        timing: where the time went.
    """

    path: str
    match: Match
    request_id: str = ""
    usage_id: str = ""
    caller: Caller | None = None
    has_body: bool = False
    images: int = 0
    pay: Callable[[int], Awaitable[None]] | None = None
    timing: Timing = field(default_factory=Timing)

    @property
    def user_id(self) -> str:
        """The id of the user who calls; for what stands behind authentication."""
        assert self.caller is not None, "authentication stands before whatever asks for the user"
        return self.caller.user_id

    def response(self, problem: Problem) -> Response:
        """The answer that tells a problem."""
        return problem.response(self.request_id)


def begin(scope: Scope, context: RequestContext) -> Scope:
    """The scope with a context in it; called once, by the outermost wrapper."""
    return {**scope, "state": {**scope.get("state", {}), _KEY: context}}


def of(scope: Scope) -> RequestContext:
    """The context of a request."""
    context = scope["state"][_KEY]
    assert isinstance(context, RequestContext)
    return context


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with a problem."""
    await of(scope).response(problem)(scope, receive, send)
