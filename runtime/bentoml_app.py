"""Changes the ASGI app that BentoML builds for a service: its limits, and the way to its endpoints."""

from collections.abc import Mapping
from typing import Any

import bentoml
from bentoml._internal.server.http.traffic import MaxConcurrencyMiddleware, TimeoutMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route


def hand_time_limit_to(middleware: type, app: Starlette) -> None:
    """Remove BentoML's time limit and its limit of concurrency; a middleware of ours gets the time as `time_limit_s`.

    BentoML reads the time from `traffic.timeout` of its configuration, and adds both middlewares by itself: no setting
    leaves them out. `app.user_middleware` is Starlette's list, from which it builds the app at the first request.
    """
    used: dict[object, Middleware] = {one.cls: one for one in app.user_middleware}
    if TimeoutMiddleware in used:
        time_limit_s = used.pop(TimeoutMiddleware).kwargs["timeout"]
        if middleware in used:
            used[middleware].kwargs["time_limit_s"] = time_limit_s
    used.pop(MaxConcurrencyMiddleware, None)
    app.user_middleware = [*used.values()]


def call_endpoints_directly(app: Starlette, apis: Mapping[str, Any]) -> None:
    """Have the routes of a service call its endpoints directly: they read their requests and shape their errors alone.

    BentoML's way to an endpoint takes as much processor time as all middlewares of ours together (DECISIONS 56).

    Args:
        app: the app that BentoML built; each route of it bears the name of its endpoint.
        apis: the endpoints by name, `bentoml.Service.apis`.
    """
    app.router.routes[:] = [_direct(route, apis) for route in app.router.routes]


def _direct(route: BaseRoute, apis: Mapping[str, Any]) -> BaseRoute:
    method = apis.get(getattr(route, "name", ""))
    if method is None:
        return route

    async def call(request: Request) -> Response:
        return await method.func(bentoml.get_current_service(), request)

    return Route(method.route, call, methods=["POST"])
