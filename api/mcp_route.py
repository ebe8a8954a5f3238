"""The route for agents: it passes messages of MCP (Model Context Protocol) to the official SDK."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from api.requests import JSON, content_type, has_too_many_containers, has_too_many_values, read_body
from api.routes import MCP
from runtime.garbage_collection import importing_late
from web import context
from web.internal_requests import Answer
from web.problem import Problem, from_library_error

Answering = Callable[[Scope, bytes], Awaitable[Answer]]

_REASONS = {
    400: "The body is not a message of MCP; set up a client of MCP with this address, and it sends the right ones.",
    406: "This service sends no streams of events; call a tool again to see what is new.",
}


def route() -> Route:
    """Return the route. It imports the SDK when the first message comes."""
    loaded: Answering | None = None

    async def answer_message(request: Request) -> Response:
        nonlocal loaded
        content_type(request, JSON)
        body = await read_body(request)
        if has_too_many_containers(body) or has_too_many_values(body):
            raise Problem(400, "The message holds too many values; send fewer.")
        if loaded is None:
            # The import takes more than a second of processor time: too long for the start, and for the event loop.
            loaded = await asyncio.to_thread(_load)
        answer = await loaded(request.scope, body)
        if answer.status >= 400 and not _answers_message(answer):
            return context.of(request.scope).response(_problem(answer.status))
        return Response(answer.body, answer.status, media_type=answer.headers.get("content-type"))

    return Route(MCP, answer_message, methods=["POST"])


def _load() -> Answering:
    with importing_late():
        from api import mcp_server
    return mcp_server.answer


def _problem(status: int) -> Problem:
    return Problem(status, _REASONS[status]) if status in _REASONS else from_library_error(status, {})


def _answers_message(answer: Answer) -> bool:
    """Return whether an error is one of JSON-RPC that names the message it is for."""
    if answer.headers.get("content-type") != JSON:
        return False
    error: Any = json.loads(answer.body)
    return error.get("id") is not None
