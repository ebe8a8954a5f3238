"""Keeps what is known of a request in its ASGI scope, for every part of the service that handles the request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from web.problem import Problem
from web.routes import Match
from web.timing import Timing

_KEY = "request"


class Caller(Protocol):
    """The API key that a request came with."""

    @property
    def user_id(self) -> str:
        """The id of the user who owns the key."""

    @property
    def key_id(self) -> str:
        """The id of the key."""


@dataclass(slots=True)
class RequestContext:
    """What is known of one request. One middleware sets each field; the middlewares inside of it read it.

    Attributes:
        path: the requested path, decoded.
        match: the route that the path and method match.
        request_id: the id in the answer and in errors: the caller's own id if it sent a valid one.
        usage_id: the id in the usage log, `req_…`: unique, since it is made here and callers can't choose it.
        arrived_us: when the request arrived, as the usage log tells it, Unix microseconds.
        caller: the API key, once it has been checked.
        has_body: whether bytes of a body have arrived.
        images: the hits that the request cost, one for each image.
        billable: the images that the answer has predictions for.
        model: the name and the revision of the model that answered; both empty until it has.
        takes_quota: whether the request may have reserved images of the user's quotas.
        pay: counts this many hits against the user's limit, or raises the problem. For routes that learn the number of
            images only from the body.
        log_image: commits the usage row of one image, given its number and status. For answers that are sent image by
            image; the request's own row then holds the images that have none.
        is_sent_in_parts: whether the answer is sent image by image, and not held back until the request's own row is
            committed.
        ended_by: the problem that ended such an answer too early.
        answer_without_hit: answers the request instead of its route, without a hit, if the request repeats an earlier
            one, or if its idempotency key can't be used.
        settlement: what becomes of the request's idempotency key when its usage row is committed; None without a key.
        timing: how long the stages of the classification took.
        whole_app: the service with all of its middlewares, for the requests that it sends to itself.
    """

    path: str
    match: Match
    request_id: str = ""
    usage_id: str = ""
    arrived_us: int = 0
    caller: Caller | None = None
    has_body: bool = False
    images: int = 0
    billable: int = 0
    model: tuple[str, str] = ("", "")
    takes_quota: bool = False
    pay: Callable[[int], Awaitable[None]] | None = None
    log_image: Callable[[int, int], Awaitable[None]] | None = None
    is_sent_in_parts: bool = False
    ended_by: Problem | None = None
    answer_without_hit: ASGIApp | None = None
    settlement: object | None = None
    timing: Timing = field(default_factory=Timing)
    whole_app: ASGIApp | None = None

    @property
    def user_id(self) -> str:
        """The id of the calling user; only for code behind authentication."""
        assert self.caller is not None, "the user is known only behind authentication"
        return self.caller.user_id

    def note_answer(self, images: int, name: str, revision: str) -> None:
        """Note the number of images that the answer has predictions for, and the model. An error counts no image."""
        self.billable, self.model = images, (name, revision)

    def end(self) -> None:
        """Forget the middlewares' functions: they refer to this context, and such cycles would keep it in memory."""
        self.pay = self.log_image = self.answer_without_hit = None

    def response(self, problem: Problem) -> Response:
        """Return the response for a problem, with the id of this request."""
        return problem.response(self.request_id, self.match.has_error_text)


def attach(scope: Scope, context: RequestContext) -> Scope:
    """Return the scope with this context in it; the outermost wrapper calls it once."""
    return {**scope, "state": {**scope.get("state", {}), _KEY: context}}


def of(scope: Scope) -> RequestContext:
    """Return the context of a request."""
    context = scope["state"][_KEY]
    assert isinstance(context, RequestContext)
    return context


async def send_problem(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the request with a problem."""
    await of(scope).response(problem)(scope, receive, send)
