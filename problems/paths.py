"""Which paths have names: what a stranger makes up becomes no label of a metric, and no line of a log.

BentoML's metrics and access log sit outside every middleware and take the path as it comes. So the outermost wrapper
shows them a name, and the envelope, inside of them, gives the request its own path back.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

UNKNOWN = "/(unknown)"


class NamedPaths:
    """Wraps the whole application.

    Args:
        app: what is wrapped.
        paths: those that go by their own name; one that ends in `/` stands for everything below it.
    """

    def __init__(self, app: ASGIApp, paths: frozenset[str]) -> None:
        self.app = app
        self.paths = paths
        self.folders = tuple(path for path in paths if path != "/" and path.endswith("/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path = scope["path"]
            scope = {**scope, "path": self._name(path), "state": {**scope.get("state", {}), "path": path}}
        await self.app(scope, receive, send)

    def _name(self, path: str) -> str:
        if path in self.paths:
            return path
        return next((folder for folder in self.folders if path.startswith(folder)), UNKNOWN)


def restore(scope: Scope) -> Scope:
    """The scope with the path that was asked for, and the path's name beside it."""
    state = scope.setdefault("state", {})
    state["path_name"] = scope["path"]
    return {**scope, "path": state.get("path", scope["path"])}


def name(scope: Scope) -> str:
    """The name of the path that was asked for."""
    return str(scope["state"]["path_name"])
