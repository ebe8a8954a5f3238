"""Lets web pages of other origins call the API (CORS, as the Fetch standard defines it).

A browser first asks whether a page may send its request (a preflight request). It shows the page only the headers that
the answer names. Pages send the API key in a header that they set themselves. There are no cookies, so no page can use
another page's login.
"""

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web import context

EXPOSED_HEADERS = (
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Server-Timing",
    "X-Request-ID",
    "WWW-Authenticate",
    "Idempotency-Replayed",
    "ETag",
    "Location",
)
_OF_MCP = ("MCP-Protocol-Version", "Mcp-Method", "Mcp-Name")
# Hugging Face's client for JavaScript sets it. Some browsers, such as Firefox, then ask for permission.
_OF_HUGGING_FACE = ("User-Agent",)
_OWN = ("Authorization", "Content-Type", "X-Request-ID", "Idempotency-Key", "If-Match", "Accept")
ALLOWED_HEADERS = (*_OWN, *_OF_MCP, *_OF_HUGGING_FACE)
# The longest time that the most common browser caches the answer to a preflight request.
MAX_AGE_S = 7200


class CrossOrigin:
    """Adds headers to each answer that say whether the calling page may read it. The outermost middleware.

    Args:
        app: the app that answers.
        origins: the origins of the pages that may read answers.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app = app
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        origin = Headers(scope=scope).get("origin")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"]]}
                headers = MutableHeaders(scope=message)
                # A cache must not give the answer for one page to another page.
                headers.add_vary_header("Origin")
                if origin in self.origins:
                    headers["Access-Control-Allow-Origin"] = origin
                    headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Preflight:
    """Answers preflight requests. They have no API key, so this middleware is outside of authentication.

    A preflight request from another origin, or for an unknown path, is handled like any other request.

    Args:
        app: the app that answers all other requests.
        origins: the origins of the pages that may call the API.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app = app
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers, methods = Headers(scope=scope), context.of(scope).match.methods
            is_preflight = "access-control-request-method" in headers
            if is_preflight and headers.get("origin") in self.origins and methods:
                return await _permission(methods)(scope, receive, send)
        await self.app(scope, receive, send)


def _permission(methods: Iterable[str]) -> Response:
    headers = {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": ", ".join(ALLOWED_HEADERS),
        "Access-Control-Max-Age": str(MAX_AGE_S),
    }
    return Response(status_code=204, headers=headers)
