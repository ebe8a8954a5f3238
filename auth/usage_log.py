"""The usage log: one row for each authenticated request, committed before the answer leaves."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage.errors import StorageUnavailable
from storage.store import Store
from storage.usage import UsageRow
from web import context
from web.context import RequestContext
from web.problem import store_away

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNKNOWN_METHOD = "(other)"


class UsageLog:
    """Holds an answer back until its row is committed; an answer whose row can't be is not given.

    Args:
        app: what is logged.
        store: where the ledger is.
    """

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app = app
        self.store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        arrived_us, started = self.store.now_us(), time.perf_counter()
        request = context.of(scope)
        held = _Held(request, send)
        try:
            await self.app(scope, receive, held)
        finally:
            # In `finally`: what was raised below, or cancelled by a time limit, was asked all the same.
            if request.caller is not None:
                row = _row(scope, arrived_us, (time.perf_counter() - started) * 1000, held.status)
                fault = await self._commit(row)
        if request.caller is None:
            return
        if fault is None:
            await held.release()
        else:
            refusal = store_away(fault.caller)
            refusal.headers.update(held.standing())
            await context.refuse(refusal, scope, receive, send)

    async def _commit(self, row: UsageRow) -> StorageUnavailable | None:
        """Put the row on the ledger; what was in the way, where anything was."""
        try:
            await self.store.record(row)
        except StorageUnavailable as error:
            return error
        return None


class _Held:
    """Keeps the messages of an answer to a known caller; lets any other pass."""

    def __init__(self, request: RequestContext, send: Send) -> None:
        self._request = request
        self._send = send
        self._messages: list[Message] = []
        # What the caller gets where nothing was said: the envelope's answer to an error nobody foresaw.
        self.status = 500

    async def __call__(self, message: Message) -> None:
        if self._request.caller is None:
            return await self._send(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self._messages.append(message)

    def standing(self) -> dict[str, str]:
        """What the answer says of the caller's limit, which holds whatever becomes of the answer."""
        headers = self._messages[0]["headers"] if self._messages else []
        return {name.decode(): value.decode() for name, value in headers if name.startswith(b"ratelimit")}

    async def release(self) -> None:
        for message in self._messages:
            await self._send(message)


def _row(scope: Scope, arrived_us: int, response_ms: float, status: int) -> UsageRow:
    request = context.of(scope)
    assert request.caller is not None
    return UsageRow(
        request_id=request.usage_id,
        user_id=request.caller.user_id,
        key_id=request.caller.key_id,
        endpoint=request.match.name,
        method=scope["method"] if scope["method"] in KNOWN_METHODS else UNKNOWN_METHOD,
        status=status,
        response_ms=response_ms,
        at_us=arrived_us,
        images=request.images,
    )
