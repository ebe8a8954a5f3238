"""What a request may cost before it is understood: bytes, counted as they arrive, and time."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from problems import request_id
from problems.problem import Problem, unavailable

# The rest of such a body is left unread, so that its connection can't serve another request.
_CLOSE = {"Connection": "close"}


class Intake:
    """Bounds the body of each request, all bodies together, and the time from its arrival to its answer.

    Args:
        app: what is guarded; its reading of a body that is too large raises the problem.
        max_bytes: of one body.
        max_bytes_at_once: of all bodies that are under way in this worker.
        time_limit_s: after which the caller is told 504.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_bytes_at_once: int, time_limit_s: float = 60) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_bytes_at_once = max_bytes_at_once
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
                raise unavailable("Too many large uploads are under way; send the request again shortly.")
            return message

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self.time_limit_s) as limit:
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
        limit = f"The request took longer than the time limit of {self.time_limit_s:g} s"
        return Problem(504, f"{limit}; send it again, or send a smaller image.", _CLOSE)
