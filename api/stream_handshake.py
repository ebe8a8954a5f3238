"""The route that opens a WebSocket: checks who may, and which options all messages of it have."""

from collections.abc import Callable, Iterable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import routes
from api.requests import read_values
from api.schemas import Options
from api.stream_requests import STREAM
from api.v2 import check_top_k
from inference.classifier import Classifier
from web import context
from web.problem import Problem


def route(classifier: Callable[[], Classifier]) -> Route:
    """Return the route.

    Args:
        classifier: returns the worker's classifier, which exists once the worker has started.
    """

    async def open_stream(request: Request) -> Response:
        stream = request.scope["state"].get(STREAM)
        if stream is None:
            raise _no_handshake()
        check_top_k(read_values(request.query_params, Options), classifier())
        check_origin(request.headers, stream.origins)
        stream.admit(context.of(request.scope).user_id)
        return Response(status_code=101)

    made = Route(routes.STREAM, open_stream, methods=["GET"])
    # Starlette adds HEAD, which the table of routes does not declare.
    made.methods = {"GET"}
    return made


def check_origin(headers: Headers, origins: Iterable[str]) -> None:
    """Check that a web page may open a WebSocket: a browser asks nobody but this server (RFC 6455, 10.2).

    Programs that are no browsers send no origin. A page of this host itself may.

    Raises:
        Problem: 403, the page is of another origin than those that are allowed.
    """
    origin = headers.get("origin")
    if origin is None or origin in origins or origin.partition("://")[2].lower() == headers.get("host", "").lower():
        return
    raise Problem(403, "Web pages of this origin may not use this service; ask its operator to allow the origin.")


def _no_handshake() -> Problem:
    detail = "Open a WebSocket at this path, version 13, by a WebSocket library; a plain request has no answer here."
    return Problem(426, detail, {"Upgrade": "websocket", "Connection": "Upgrade"})
