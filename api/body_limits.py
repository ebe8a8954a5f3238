"""Bounds what a request may cost before it is understood: the bytes of its body, their pace, and time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.requests import cut_off
from inference.fair_queue import Room
from runtime.memory import FreedMemory
from web import context
from web.problem import Problem, unavailable

# A body may stand still for so many seconds, and but for these it must come at so many bytes a second.
PACE_GRACE_S, LEAST_BYTES_PER_S = 10.0, 8192
# The watch for callers who go away begins so late: most have their answer by then, and a task for each costs time.
WATCHED_AFTER_S = 0.2

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
        self._ends_at: float | None = None
        self._limits: set[asyncio.Timeout] = set()

    @property
    def has_begun(self) -> bool:
        """Whether the worker was told to end."""
        return self._ends_at is not None

    def begin(self) -> None:
        """Let what is under way end within that time."""
        self._ends_at = asyncio.get_running_loop().time() + self.within_s
        for limit in self._limits:
            self.set(limit, limit.when() or self._ends_at)

    def set(self, limit: asyncio.Timeout, at: float) -> None:
        """Let a request end at that time of the event loop, or nearer once the worker was told to end."""
        # One that has just expired, or is over, can't be changed any more.
        if limit in self._limits and not limit.expired():
            limit.reschedule(at if self._ends_at is None else min(at, self._ends_at))

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
        max_bytes_at_once: of all bodies that are under way in this worker; users share it.
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
        self.room = Room()
        self.freed = FreedMemory()

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
            async with self.draining.limit(self.time_limit_s) as limit:
                self._check_declared(scope)
                body.limit = limit
                await self.app(scope, body.receive, send_noted)
        except TimeoutError:
            if started and body.is_abandoned:
                return
            if started or not limit.expired():
                raise
            await context.refuse(self._ended(body), scope, receive, send)
        except Problem as problem:
            if started:
                raise
            await context.refuse(problem, scope, receive, send)
        finally:
            body.close()

    def too_large(self) -> Problem:
        """413: the body is larger than one may be."""
        return Problem(413, f"The body is larger than {self.max_bytes} bytes; send a smaller image.", _CLOSE)

    def _check_declared(self, scope: Scope) -> None:
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if declared.isdigit() and int(declared[:20]) > self.max_bytes:
            raise self.too_large()

    def _ended(self, body: "_Body") -> Problem:
        """Why a request was ended before its answer."""
        if body.is_abandoned:
            return cut_off()
        if self.draining.has_begun:
            return unavailable(_ENDING, kind="not_ready")
        if body.is_slow:
            detail = f"The body came at less than {LEAST_BYTES_PER_S} bytes a second; send a smaller image."
            return Problem(504, detail, _CLOSE)
        limit = f"The request took longer than the time limit of {self.time_limit_s:g} s"
        return Problem(504, f"{limit}; send it again, or send a smaller image.", _CLOSE)


class _Body:
    """The body of one request as it comes in, and the caller who may go away after it.

    Attributes:
        limit: the time limit of the request.
        is_slow: whether the body has not come to its end at the pace that is asked for.
        is_abandoned: whether the caller went away after it had sent the body.
    """

    limit: asyncio.Timeout

    def __init__(self, intake: Intake, scope: Scope, receive: Receive) -> None:
        self.is_slow = False
        self.is_abandoned = False
        self._intake = intake
        self._request = context.of(scope)
        self._receive = receive
        self._user = ""
        self._size = 0
        self._began: float | None = None
        self._ends: float | None = None
        self._watch_begins: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """Receive the next part, as ASGI has it.

        Raises:
            Problem: 413, 503: it is too large, or there is no room for it.
        """
        if self._began is None:
            self._began, self._ends = self._now(), self.limit.when()
            self._user = self._request.user_id if self._request.caller else ""
            self._keep_pace()
        message = await self._receive()
        if message["type"] == "http.request":
            self._take(len(message.get("body", b"")))
            if message.get("more_body", False):
                self._keep_pace()
            elif self._watch_begins is None:
                self._set_limit(None)
                # What has no body takes no time.
                if self._size:
                    self._watch_begins = asyncio.get_running_loop().call_later(WATCHED_AFTER_S, self._begin_watch)
        return message

    def close(self) -> None:
        """Give back what the body held."""
        if self._watch_begins is not None:
            self._watch_begins.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._size:
            self._intake.room.give_back(self._user, self._size)
            self._intake.freed.note(self._size)

    def _take(self, size: int) -> None:
        room, total = self._intake.room, self._intake.max_bytes_at_once
        # What was declared is not trusted.
        if self._size + size > self._intake.max_bytes:
            raise self._intake.too_large()
        if not room.has(self._user, size, total):
            raise unavailable(_TOO_MANY, kind="uploads")
        room.take(self._user, size)
        self._size += size
        self._request.has_body = self._size > 0

    def _keep_pace(self) -> None:
        assert self._began is not None
        self._set_limit(PACE_GRACE_S + min(self._now(), self._began + self._size / LEAST_BYTES_PER_S))

    def _set_limit(self, at: float | None) -> None:
        """End the request at that time, where that is nearer than its time limit."""
        assert self._ends is not None
        self.is_slow = at is not None and at < self._ends
        self._intake.draining.set(self.limit, at if at is not None and self.is_slow else self._ends)

    def _begin_watch(self) -> None:
        self._watch = asyncio.create_task(self._watch_caller())

    async def _watch_caller(self) -> None:
        """End the request when its caller goes away: nobody would have the answer, and others wait."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_abandoned = True
        self._intake.draining.set(self.limit, self._now())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
