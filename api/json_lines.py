"""Answers in JSON lines (`application/x-ndjson`): a line for each image of a batch, sent as soon as it is done.

Each line leaves after the usage row of its image is committed. So every line that a caller has received is on the log.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.requests import JSON
from web.accept import prefers
from web.context import RequestContext
from web.problem import Problem, internal_error

MEDIA_TYPE = "application/x-ndjson"

Entry = dict[str, Any]
# Takes the number of an image, and its entry or its problem.
TakeEntry = Callable[[int, Entry | Problem], Awaitable[None]]


def are_wanted(request: Request) -> bool:
    """Return whether the caller accepts JSON lines, and does not prefer JSON."""
    return prefers(",".join(request.headers.getlist("accept")), MEDIA_TYPE, over=JSON)


class JsonLines(Response):
    """An answer of JSON lines. It starts with its first line: until then, an error is answered with its own status.

    Args:
        request: the context of the request.
        classify: classifies the images; hands over each entry, or the problem of each image.
    """

    media_type = MEDIA_TYPE

    def __init__(self, request: RequestContext, classify: Callable[[TakeEntry], Awaitable[None]]) -> None:
        self._request = request
        self._classify = classify
        self._turn = asyncio.Lock()
        self.status_code = 200
        self.background = None
        # nginx would hold lines back until it has some kilobytes of them.
        self.init_headers({"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - see `Response`
        async def take(number: int, entry: Entry | Problem) -> None:
            line = await self._logged(number, entry)
            async with self._turn:
                await self._start(send)
                await send({"type": "http.response.body", "body": line, "more_body": True})

        last = b""
        try:
            await self._classify(take)
        except Exception as error:
            if not self._request.is_sent_in_parts:
                raise
            self._request.ended_by = internal_error(error)
            last = self._request.ended_by.line(self._request.request_id)
        self._request.timing.observe()
        await send({"type": "http.response.body", "body": last})

    async def _start(self, send: Send) -> None:
        if not self._request.is_sent_in_parts:
            self._request.is_sent_in_parts = True
            self.headers["Server-Timing"] = self._request.timing.header()
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _logged(self, number: int, entry: Entry | Problem) -> bytes:
        """Commit the image's row, and return its line; the line of a problem if there can be no row."""
        assert self._request.log_image is not None, "the usage log is outside of each route"
        try:
            await self._request.log_image(number, entry.status.value if isinstance(entry, Problem) else 200)
        except Problem as problem:
            entry = problem
        return _line(number, {"error": entry.body()} if isinstance(entry, Problem) else entry)


def whole(entries: Iterable[Entry]) -> Response:
    """Return the same lines as one answer, in order: an answer that may be repeated has one row, and is kept whole."""
    return Response(b"".join(_line(*one) for one in enumerate(entries)), media_type=MEDIA_TYPE)


def _line(number: int, entry: Entry) -> bytes:
    return json.dumps({"index": number, **entry}, ensure_ascii=False).encode() + b"\n"
