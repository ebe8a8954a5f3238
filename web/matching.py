"""Matches each request with the table of routes, once, before any other code sees the request.

BentoML's metrics and access log are outside of all middlewares, and use the path in the scope. So the outermost wrapper
puts the name of the route there. The envelope, which is inside of them, restores the requested path. All code further
inside uses the match.
"""

from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from web import context
from web.context import RequestContext
from web.routes import Match, Routes

# Keys in the request's state, which no caller can set. One marks a WebSocket handshake that is handled as an ordinary
# request. The other holds the match of a message of a WebSocket, which is a request that nobody else can send.
IS_HANDSHAKE = "is_handshake"
GIVEN_MATCH = "given_match"


class RouteMatching:
    """Wraps the whole application: attaches a context to each request, with the route that it matches.

    Args:
        app: the application.
        routes: the table of routes.
    """

    def __init__(self, app: ASGIApp, routes: Routes) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        match = scope.get("state", {}).get(GIVEN_MATCH) or self._match(scope)
        request = RequestContext(scope["path"], match, whole_app=self)
        try:
            await self.app(context.attach({**scope, "path": match.name}, request), receive, send)
        finally:
            request.end()

    def _match(self, scope: Scope) -> Match:
        # ASGI servers may omit `raw_path`.
        raw_path = scope.get("raw_path") or scope["path"].encode()
        match = self.routes.match(scope["method"], raw_path)
        if IS_HANDSHAKE not in scope.get("state", {}) or (match.route is not None and match.route.is_web_socket):
            return match
        return replace(self.routes.match("", raw_path), is_handshake=True)


def restore_path(scope: Scope) -> Scope:
    """Return the scope with the requested path in place of the name of the route."""
    return {**scope, "path": context.of(scope).path}
