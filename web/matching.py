"""Matches each request with the table of routes, once, before anything else sees it.

BentoML's metrics and access log sit outside every middleware and take the path as it comes. So the outermost wrapper
shows them the name of the request's route; the envelope, inside of them, gives the request its own path back, and
everything further in goes by the match.
"""

from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from web import context
from web.context import RequestContext
from web.routes import Routes

# Of a request's state: it asked to become a WebSocket; the server has taken its handshake for an ordinary request.
IS_HANDSHAKE = "is_handshake"


class Matching:
    """Wraps the whole application: begins the context of each request with the route that it asks for.

    Args:
        app: what is wrapped.
        routes: the table.
    """

    def __init__(self, app: ASGIApp, routes: Routes) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path = scope["path"]
            # A server need not tell what came over the wire; a WebSocket has no method.
            is_handshake = IS_HANDSHAKE in scope.get("state", {})
            method = "" if is_handshake else scope.get("method", "")
            found = self.routes.match(method, scope.get("raw_path") or path.encode())
            if is_handshake:
                found = replace(found, is_handshake=True)
            scope = context.begin({**scope, "path": found.name}, RequestContext(path, found))
        await self.app(scope, receive, send)


def restore(scope: Scope) -> Scope:
    """The scope, with the path that was asked for instead of the name of its route."""
    return {**scope, "path": context.of(scope).path}
