"""What web pages of other origins need to call the API (CORS): browsers ask first, and read only what they are shown.

A key travels in a header that pages set themselves; there are no cookies that another page could make use of.
"""

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web import context

SHOWN = ("RateLimit", "RateLimit-Policy", "Retry-After", "Server-Timing", "X-Request-ID", "WWW-Authenticate")
TAKEN = ("Authorization", "Content-Type", "X-Request-ID", "Idempotency-Key", "Accept")
# As long as the most widespread browser keeps an answer at most.
KEPT_S = 7200


class CrossOrigin:
    """Has every answer say whether the page that asked may read it; the outermost middleware.

    Args:
        app: what answers.
        origins: of the pages that may.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app = app
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        origin = Headers(scope=scope).get("origin")

        async def send_shown(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"]]}
                headers = MutableHeaders(scope=message)
                # What is kept for one page must not be shown to another.
                headers.add_vary_header("Origin")
                if origin in self.origins:
                    headers["Access-Control-Allow-Origin"] = origin
                    headers["Access-Control-Expose-Headers"] = ", ".join(SHOWN)
            await send(message)

        await self.app(scope, receive, send_shown)


class Preflight:
    """Answers a browser that asks whether a page may send its request: it asks without a key, so before the gate.

    What a page of another origin asks, or of a path that is unknown, goes the way of every other request.

    Args:
        app: what answers everything else.
        origins: of the pages that may call the API.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app = app
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers, methods = Headers(scope=scope), context.of(scope).match.methods
            is_asked = "access-control-request-method" in headers and headers.get("origin") in self.origins
            if is_asked and methods:
                return await _permission(methods)(scope, receive, send)
        await self.app(scope, receive, send)


def _permission(methods: Iterable[str]) -> Response:
    told = {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": ", ".join(TAKEN),
        "Access-Control-Max-Age": str(KEPT_S),
    }
    return Response(status_code=204, headers=told)
