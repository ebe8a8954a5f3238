"""What a request may cost before it is understood: bytes, counted as they arrive, and time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from problems import request_id
from problems.problem import Problem, unavailable

# The rest of such a body is left unread, so that its connection can't serve another request.
_CLOSE = {"Connection": "close"}
_ENDING = "The service is about to restart; send the request again shortly."
_TOO_MANY = "Too many large uploads are under way; send the request again shortly."


class Draining:
    """The requests under way in a worker, all of which get a nearer time limit when it is told to end.

    Args:
        within_s: that limit, seconds.
    """

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self.has_begun = False
        self._limits: set[asyncio.Timeout] = set()

    def begin(self) -> None:
        """Let what is under way end within that time."""
        self.has_begun = True
        at = asyncio.get_running_loop().time() + self.within_s
        for limit in self._limits:
            # One that has just expired can't be changed any more.
            if not limit.expired():
                limit.reschedule(min(at, limit.when() or at))

    @asynccontextmanager
    async def limit(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """As `asyncio.timeout`, but nearer once the worker is told to end."""
        async with asyncio.timeout(min(seconds, self.within_s) if self.has_begun else seconds) as limit:
            self._limits.add(limit)
            try:
                yield limit
            finally:
                self._limits.discard(limit)


class Intake:
    """Bounds the body of each request, all bodies together, and the time from its arrival to its answer.

    Args:
        app: what is guarded; its reading of a body that is too large raises the problem.
        max_bytes: of one body.
        max_bytes_at_once: of all bodies that are under way in this worker.
        draining: told when the worker is to end.
        time_limit_s: after which the caller is told 504.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, max_bytes_at_once: int, draining: Draining, time_limit_s: float = 60
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_bytes_at_once = max_bytes_at_once
        self.draining = draining
        self.time_limit_s = time_limit_s
        self._bytes_at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, size = False, 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            chunk = len(message.get("body", b""))
            size += chunk
            self._bytes_at_once += chunk
            # What was declared is not trusted.
            if size > self.max_bytes:
                raise self._too_large()
            if self._bytes_at_once > self.max_bytes_at_once:
                raise unavailable(_TOO_MANY, kind="uploads")
            return message

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with self.draining.limit(self.time_limit_s) as limit:
                self._check_declared(scope)
                await self.app(scope, receive_counted, send_noted)
        except TimeoutError:
            if started or not limit.expired():
                raise
            await self._took_too_long().response(request_id.shown(scope))(scope, receive, send)
        except Problem as problem:
            if started:
                raise
            await problem.response(request_id.shown(scope))(scope, receive, send)
        finally:
            self._bytes_at_once -= size

    def _check_declared(self, scope: Scope) -> None:
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if declared.isdigit() and int(declared[:20]) > self.max_bytes:
            raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(413, f"The body is larger than {self.max_bytes} bytes; send a smaller image.", _CLOSE)

    def _took_too_long(self) -> Problem:
        if self.draining.has_begun:
            return unavailable(_ENDING, kind="not_ready")
        limit = f"The request took longer than the time limit of {self.time_limit_s:g} s"
        return Problem(504, f"{limit}; send it again, or send a smaller image.", _CLOSE)
