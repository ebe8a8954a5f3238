"""Limits the size and duration of a request body, and the time from a request's arrival to its answer."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.draining import Draining, TimeLimit
from api.requests import connection_closed
from inference.fair_shares import FairShares
from runtime.memory import freed_memory
from web import context
from web.problem import Problem, unavailable

# Beyond the first seconds, a body must arrive at this rate.
PACE_GRACE_S, LEAST_BYTES_PER_S = 10.0, 8192
# A task that waits for the caller to disconnect costs time. Most requests are answered before it starts.
WATCHED_AFTER_S = 0.2
# For a smaller body, or fewer bytes of all bodies, returning the memory to the system takes more time than it is worth.
LARGE_BYTES, MANY_BYTES = 500_000, 16_000_000

# The rest of such a body stays unread, so the connection can't serve another request.
_CLOSE = {"Connection": "close"}
_ENDING = "The service is about to restart; send the request again shortly."
_TOO_MANY = "Too many large uploads are under way; send the request again shortly."


class BodyLimits:
    """Limits the size of each request body, of all bodies together, and the time that a request may take.

    Args:
        app: the app behind the limits; reading a body that is too large raises the problem there.
        max_bytes: the largest body, bytes.
        max_bytes_at_once: the most bytes of all bodies that this worker holds; users share them.
        draining: shortens the time limits when the worker is told to end.
        time_limit_s: seconds after which the caller gets a 504.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, max_bytes_at_once: int, draining: Draining, time_limit_s: float = 60
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_bytes_at_once = max_bytes_at_once
        self.draining = draining
        self.time_limit_s = time_limit_s
        self.shares = FairShares()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = False
        body = _Body(self, scope, receive)

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            with self.draining.limit(self.time_limit_s) as limit:
                self._check_declared(scope)
                body.limit = limit
                await self.app(scope, body.receive, send_noted)
        except TimeoutError:
            request = context.of(scope)
            if request.is_sent_in_parts and started and limit.has_expired:
                request.ended_by = self._reason(body)
                line = request.ended_by.line(request.request_id)
                return await send({"type": "http.response.body", "body": line})
            if started and body.is_abandoned:
                return
            if started or not limit.has_expired:
                raise
            await context.send_problem(self._reason(body), scope, receive, send)
        except Problem as problem:
            if started:
                raise
            await context.send_problem(problem, scope, receive, send)
        finally:
            body.close()

    def too_large(self) -> Problem:
        """Return the 413 for a body that is too large."""
        return Problem(413, f"The body is larger than {self.max_bytes} bytes; send a smaller image.", _CLOSE)

    def _check_declared(self, scope: Scope) -> None:
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if declared.isdigit() and int(declared[:20]) > self.max_bytes:
            raise self.too_large()

    def _reason(self, body: "_Body") -> Problem:
        """Return the problem that says why the time of a request was up."""
        if body.is_abandoned:
            return connection_closed()
        if self.draining.has_begun:
            return unavailable(_ENDING, kind="not_ready")
        if body.is_slow:
            detail = f"The body came at less than {LEAST_BYTES_PER_S} bytes a second; send a smaller image."
            return Problem(504, detail, _CLOSE)
        limit = f"The request took longer than the time limit of {self.time_limit_s:g} s"
        return Problem(504, f"{limit}; send it again, or send a smaller image.", _CLOSE)


class _Body:
    """Counts the bytes of one request body as they arrive, and watches for a caller who disconnects after it.

    Attributes:
        limit: the time limit of the request.
        is_slow: whether the limit in force is the one that a slow body gets.
        is_abandoned: whether the caller disconnected after it had sent the body.
    """

    limit: TimeLimit

    def __init__(self, limits: BodyLimits, scope: Scope, receive: Receive) -> None:
        self.is_slow = False
        self.is_abandoned = False
        self._limits = limits
        self._request = context.of(scope)
        self._receive = receive
        self._user = ""
        self._size = 0
        self._began: float | None = None
        self._ends: float | None = None
        self._is_complete = False
        self._watch: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """Receive the next ASGI message.

        Raises:
            Problem: 413, the body is too large; 503, the worker holds too many bytes already.
        """
        if self._began is None:
            self._began, self._ends = self._now(), self.limit.at
            self._user = self._request.user_id if self._request.caller else ""
            self._keep_pace()
        message = await self._receive()
        if message["type"] == "http.request":
            self._take(len(message.get("body", b"")))
            if message.get("more_body", False):
                self._keep_pace()
            elif not self._is_complete:
                self._is_complete = True
                self._set_limit(None)
                # A request without a body is answered at once.
                if self._size:
                    self.limit.call_later(WATCHED_AFTER_S, self._begin_watch)
        return message

    def close(self) -> None:
        """Give back the bytes that the body held."""
        if self._watch is not None:
            self._watch.cancel()
            # The cancelled task refers to this object. Such a reference cycle would keep the request in memory.
            self._watch = None
        self._give_back()

    def _take(self, size: int) -> None:
        shares, total = self._limits.shares, self._limits.max_bytes_at_once
        # Content-Length may be wrong or missing.
        if self._size + size > self._limits.max_bytes:
            raise self._limits.too_large()
        if not shares.can_take(self._user, size, total):
            # The answer may wait for the database: if each refused body held its bytes meanwhile, all would be refused.
            self._give_back()
            raise unavailable(_TOO_MANY, kind="uploads")
        shares.take(self._user, size)
        self._size += size
        self._request.has_body = self._size > 0

    def _give_back(self) -> None:
        if self._size:
            if self._size >= LARGE_BYTES or self._limits.shares.used >= MANY_BYTES:
                freed_memory.return_soon()
            self._limits.shares.give_back(self._user, self._size)
            self._size = 0

    def _keep_pace(self) -> None:
        assert self._began is not None
        self._set_limit(PACE_GRACE_S + min(self._now(), self._began + self._size / LEAST_BYTES_PER_S))

    def _set_limit(self, at: float | None) -> None:
        """End the request at that time of the event loop, if that is before its time limit."""
        assert self._ends is not None
        self.is_slow = at is not None and at < self._ends
        self._limits.draining.set(self.limit, at if at is not None and self.is_slow else self._ends)

    def _begin_watch(self) -> None:
        self._watch = asyncio.create_task(self._watch_caller())

    async def _watch_caller(self) -> None:
        """End the request when its caller disconnects: nobody would read the answer, and others wait."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_abandoned = True
        self._limits.draining.set(self.limit, self._now())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
