"""Writes the usage log: one row for each authenticated request, committed before its answer is sent.

An answer that is sent image by image has a row for each image, committed before the image's part is sent.
"""

import asyncio
import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth import identity
from auth.idempotency import under_way
from storage.errors import StorageUnavailable
from storage.idempotency import Settlement
from storage.store import Store
from storage.usage import UsageRow, Withheld
from web import context
from web.context import RequestContext
from web.problem import Problem, storage_unavailable, unavailable

# How long the answer of a route that outlasts the database waits for its row.
WAIT_FOR_ROW_S = 2.0
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNKNOWN_METHOD = "(other)"
# The status with which the envelope answers if the app raises an exception, or sends nothing.
STATUS_OF_AN_EXCEPTION = 500
STATUS_OF_ERRORS = 400


class UsageLog:
    """Holds each answer back until its usage row is committed. If that fails, the caller gets a 503 instead.

    The answer to a request with an idempotency key is kept in the same transaction. If another request holds the key by
    then, the caller gets a 409 instead.

    A route that outlasts the database is answered without its row.

    Args:
        app: the app whose requests are logged.
        store: holds the usage log.
    """

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app = app
        self.store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, request = time.perf_counter(), context.of(scope)
        request.arrived_us = self.store.now_us()
        answer = _HeldAnswer(request, send)
        request.log_image = _ImageLog(self.store, scope, started).log
        raised, problem = None, None
        try:
            await self.app(scope, receive, answer)
        except Exception as error:
            raised, answer.status = error, STATUS_OF_AN_EXCEPTION
        finally:
            # In `finally`: a request that a time limit cancelled is logged too.
            if request.caller is not None:
                status = answer.status if request.ended_by is None else request.ended_by.status.value
                row = _row(scope, (time.perf_counter() - started) * 1000, status, _settlement(request))
                route = request.match.route
                problem = await (self._try_commit(row) if route and route.outlasts_database else self._commit(row))
        # An answer that was sent in parts can't be replaced any more; each part has a row of its own.
        if problem is not None and not request.is_sent_in_parts:
            problem.headers.update(answer.rate_limit_headers())
            return await context.send_problem(problem, scope, receive, send)
        if raised is not None:
            try:
                raise raised
            finally:
                # The error's traceback refers to this frame. Such a reference cycle would keep the request in memory.
                del raised
        await answer.release()

    async def _commit(self, row: UsageRow) -> Problem | None:
        """Commit the row; return the problem to answer with instead if the answer may not be sent."""
        try:
            withheld = await self.store.record(row)
        except StorageUnavailable as error:
            return storage_unavailable(error.caller)
        return None if withheld is None else _WITHHELD[withheld]()

    async def _try_commit(self, row: UsageRow) -> None:
        """Commit the row if the database answers soon. A row that takes longer is committed later."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_FOR_ROW_S):
                await self._commit(row)


class _ImageLog:
    """Writes the rows of the images of one request."""

    def __init__(self, store: Store, scope: Scope, started: float) -> None:
        self._store = store
        self._scope = scope
        self._started = started

    async def log(self, number: int, status: int) -> None:
        """Commit the row of one image, which holds the hit that the image cost.

        Raises:
            Problem: 503, the database does not answer, or what the request had reserved of a quota was given back.
        """
        request = context.of(self._scope)
        row = _row(self._scope, (time.perf_counter() - self._started) * 1000, status)
        billable = 1 if status < STATUS_OF_ERRORS else 0
        cost_nanos = identity.caller(self._scope).cost_nanos(billable, request.arrived_us)
        row = row._replace(request_id=f"{request.usage_id}.{number}", part_of=request.usage_id, images=1)
        row = row._replace(billable=billable, cost_nanos=cost_nanos)
        # Before the commit: the row may be committed even if the request is cancelled meanwhile.
        request.images -= 1
        try:
            withheld = await self._store.record(row)
        except StorageUnavailable as error:
            request.images += 1
            raise storage_unavailable(error.caller) from None
        if withheld is not None:
            raise _WITHHELD[withheld]()


class _HeldAnswer:
    """Keeps the messages of an answer if the caller is authenticated; otherwise sends them at once.

    Of an answer that is sent in parts, it keeps only the end.

    Attributes:
        status: the HTTP status of the answer.
    """

    def __init__(self, request: RequestContext, send: Send) -> None:
        self._request = request
        self._send = send
        self._messages: list[Message] = []
        self.status = STATUS_OF_AN_EXCEPTION

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        is_start = message["type"] == "http.response.start" or message.get("more_body", False)
        if self._request.caller is None or (self._request.is_sent_in_parts and is_start):
            return await self._send(message)
        self._messages.append(message)

    def rate_limit_headers(self) -> dict[str, str]:
        """Return the rate limit headers of the answer. They stay true if another answer is sent instead."""
        headers = self._messages[0]["headers"] if self._messages else []
        return {name.decode(): value.decode() for name, value in headers if name.startswith(b"ratelimit")}

    async def release(self) -> None:
        """Send the messages that were kept."""
        for message in self._messages:
            await self._send(message)


def _settlement(request: RequestContext) -> Settlement | None:
    settlement = request.settlement
    assert settlement is None or isinstance(settlement, Settlement)
    return settlement


def _given_back() -> Problem:
    return unavailable(
        "The request took so long that its part of your quota was given back; send it again.", kind="time"
    )


_WITHHELD = {Withheld.GIVEN_BACK: _given_back, Withheld.KEY_LOST: under_way}


def _row(scope: Scope, response_ms: float, status: int, settlement: Settlement | None = None) -> UsageRow:
    request, caller = context.of(scope), identity.caller(scope)
    is_answered = status < STATUS_OF_ERRORS
    model, revision = request.model if is_answered else ("", "")
    billable = request.billable if is_answered else 0
    return UsageRow(
        request_id=request.usage_id,
        user_id=caller.user_id,
        key_id=caller.key_id,
        endpoint=request.match.name,
        method=scope["method"] if scope["method"] in KNOWN_METHODS else UNKNOWN_METHOD,
        status=status,
        response_ms=response_ms,
        at_us=request.arrived_us,
        images=request.images,
        billable=billable,
        model=model,
        revision=revision,
        plan=caller.plan or "",
        cost_nanos=caller.cost_nanos(billable, request.arrived_us),
        takes_quota=request.takes_quota,
        notes_use=caller.is_use_to_note(request.arrived_us),
        settlement=settlement,
    )
