"""Changes the ASGI app that BentoML builds for a service: its limits, its tracing, and the way to its endpoints."""

from collections.abc import Mapping
from typing import Any

from _bentoml_impl.server.app import ContextMiddleware
from bentoml import get_current_service
from bentoml._internal.server.http.traffic import MaxConcurrencyMiddleware, TimeoutMiddleware
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send


def hand_time_limit_to(middleware: type, app: Starlette) -> None:
    """Remove BentoML's time limit and its limit of concurrency; a middleware of ours gets the time as `time_limit_s`.

    BentoML reads the time from `traffic.timeout` of its configuration, and adds both middlewares by itself: no setting
    leaves them out. `app.user_middleware` is Starlette's list, from which it builds the app at the first request.
    """
    used = _by_class(app)
    if TimeoutMiddleware in used:
        time_limit_s = used.pop(TimeoutMiddleware).kwargs["timeout"]
        if middleware in used:
            used[middleware].kwargs["time_limit_s"] = time_limit_s
    used.pop(MaxConcurrencyMiddleware, None)
    app.user_middleware = [*used.values()]


def leave_out_tracing(app: Starlette) -> bool:
    """Remove the middleware that traces requests, if BentoML's configuration excludes each URL from it.

    Returns:
        Whether no request is traced.
    """
    used = _by_class(app)
    tracing = used.get(OpenTelemetryMiddleware)
    excluded: Any = tracing.kwargs["excluded_urls"] if tracing is not None else None
    # Only a pattern that every URL matches is found in an empty one.
    if excluded is not None and excluded.url_disabled(""):
        del used[OpenTelemetryMiddleware]
        app.user_middleware = [*used.values()]
    return OpenTelemetryMiddleware not in used


def call_endpoints_directly(app: Starlette, apis: Mapping[str, Any]) -> None:
    """Have the endpoints of a service called behind its last middleware, without BentoML and Starlette in between.

    They read their requests and shape their errors alone. BentoML's and Starlette's way to an endpoint takes as much
    processor time as all middlewares of ours together (DECISIONS 56).

    Args:
        app: the app that BentoML built.
        apis: the endpoints by name, `bentoml.Service.apis`.
    """
    functions = {method.route: method.func for method in apis.values()}
    place = [*_by_class(app)].index(ContextMiddleware)
    app.user_middleware.insert(place, Middleware(_Endpoints, functions=functions))


class _Endpoints:
    """Calls the endpoint whose path was requested, and passes on all other requests."""

    def __init__(self, app: ASGIApp, functions: Mapping[str, Any]) -> None:
        self.app = app
        self.functions = functions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        function = self.functions.get(scope["path"]) if is_post else None
        if function is None:
            return await self.app(scope, receive, send)
        response = await function(get_current_service(), Request(scope, receive, send))
        await response(scope, receive, send)


def _by_class(app: Starlette) -> dict[object, Middleware]:
    return {one.cls: one for one in app.user_middleware}
