"""Sends requests from the service to itself, through all of its middlewares, on behalf of a request's caller.

A route that takes images in another protocol, such as MCP, asks the routes of the API in this way. So the same keys,
scopes, limits and errors hold, and the usage log has a row for each such request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope

from web import context

_FROM_OUTER = ("asgi", "http_version", "scheme", "server", "client")
_AUTHORIZATION = b"authorization"


@dataclass(frozen=True)
class Answer:
    """An answer that was read whole.

    Attributes:
        status: the HTTP status.
        headers: the headers.
        body: the body.
    """

    status: int
    headers: Headers
    body: bytes


async def ask(
    outer: Scope,
    method: str,
    path: str,
    *,
    query: bytes = b"",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bytes = b"",
) -> Answer:
    """Send a request to this service with the API key, the address and the request id of another request.

    If the task that waits is cancelled, the request ends as if its caller had disconnected: its row is in the usage
    log when this function returns.

    Args:
        outer: the scope of the other request.
        method: the HTTP method.
        path: the path, without a query.
        query: the query, percent-encoded.
        headers: more headers, with names in lower case.
        body: the body.
    """
    whole_app = context.of(outer).whole_app
    assert whole_app is not None, "`RouteMatching` sets the application of each request"
    scope = {
        **{name: outer[name] for name in _FROM_OUTER if name in outer},
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [*_identifying(outer), *headers, (b"content-length", b"%d" % len(body))],
        "state": {},
    }
    caller_left = asyncio.Event()
    task = asyncio.create_task(read_answer(whole_app, scope, whole_body(body, caller_left.wait)))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        caller_left.set()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        raise


async def read_answer(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    """Have an ASGI app answer a request, and return its answer."""
    started: Message = {"status": 500, "headers": []}
    pieces: list[bytes] = []

    async def send(message: Message) -> None:
        nonlocal started
        if message["type"] == "http.response.start":
            started = message
        else:
            pieces.append(message.get("body", b""))

    await app(scope, receive, send)
    return Answer(started["status"], Headers(raw=[*started["headers"]]), b"".join(pieces))


def whole_body(body: bytes, wait_until_left: Callable[[], Awaitable[object]]) -> Receive:
    """Return a `receive` that gives the body at once, and a disconnect when the caller has left.

    Args:
        body: the body.
        wait_until_left: returns once the caller has left.
    """
    is_given = False

    async def receive() -> Message:
        nonlocal is_given
        if not is_given:
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await wait_until_left()
        return {"type": "http.disconnect"}

    return receive


def _identifying(outer: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers that name the caller and the request."""
    key = [(name, value) for name, value in outer["headers"] if name == _AUTHORIZATION]
    return [*key, (b"x-request-id", context.of(outer).request_id.encode())]
