"""Matches each request with the table of routes, once, before any other code sees the request.

BentoML's metrics and access log are outside of all middlewares, and use the path in the scope. So the outermost wrapper
puts the name of the route there. The envelope, which is inside of them, restores the requested path. All code further
inside uses the match.
"""

from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from web import context
from web.context import RequestContext
from web.routes import Routes

# A key in the request's state. It marks a WebSocket handshake, which the server has passed on as an ordinary request.
IS_HANDSHAKE = "is_handshake"


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
        if scope["type"] in ("http", "websocket"):
            path = scope["path"]
            # ASGI servers may omit `raw_path`, and the scope of a WebSocket has no method.
            is_handshake = IS_HANDSHAKE in scope.get("state", {})
            method = "" if is_handshake else scope.get("method", "")
            match = self.routes.match(method, scope.get("raw_path") or path.encode())
            if is_handshake:
                match = replace(match, is_handshake=True)
            request = RequestContext(path, match, whole_app=self)
            scope = context.attach({**scope, "path": match.name}, request)
        await self.app(scope, receive, send)


def restore_path(scope: Scope) -> Scope:
    """Return the scope with the requested path in place of the name of the route."""
    return {**scope, "path": context.of(scope).path}
