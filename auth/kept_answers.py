"""Keeps the answers of requests with an idempotency key, and gives a kept answer again to a retry."""

import asyncio
import json
from contextlib import suppress
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth.body_fingerprint import BodyFingerprint
from storage.errors import StorageUnavailable
from storage.idempotency import KeptAnswer, Settlement
from storage.store import Store
from web import context
from web.problem import Problem

HEADER = "Idempotency-Key"
# A larger answer is not kept. An answer with all labels of one image is smaller, and so is one with the five best
# labels of each image of a batch.
MOST_BYTES = 256 * 1024
# Errors that the same body would get again. After any other error, a retry is computed again.
_KEPT_ERRORS = frozenset({400, 415, 422})
_OTHER_BODY = f"This {HEADER} came with another body before; send each new request with a new key."
_TOO_LARGE = f"The answer to this {HEADER} was larger than {MOST_BYTES} bytes, so it was not kept; send a new key."
FORGOTTEN_EVERY_S, PAUSE_S = 60.0, 0.1


class KeptAnswers:
    """Answers a retry, or keeps the answer of a request that holds its key. The innermost middleware.

    It stands behind the limits on bodies, so it reads no more of a body than they allow. The answer is committed by the
    usage log, together with the request's row.

    Args:
        app: the routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = context.of(scope) if scope["type"] == "http" else None
        if request is None or (request.answer_without_hit is None and request.settlement is None):
            return await self.app(scope, receive, send)
        if request.answer_without_hit is not None:
            return await request.answer_without_hit(scope, receive, send)
        assert isinstance(request.settlement, Settlement)
        body, answer = _Body(scope, receive), _Answer()

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _KEPT_ERRORS:
                # Some errors are found before the whole body was read.
                await body.read_rest()
            answer.add(message)
            await send(message)

        await self.app(scope, body.receive, send_recorded)
        if answer.is_to_keep and body.is_complete:
            kept = answer.kept(body.fingerprint())
            request.settlement = request.settlement._replace(answer=kept)


def replay(kept: KeptAnswer) -> ASGIApp:
    """Return an app that gives a kept answer to a request with the same body.

    The app raises:
        Problem: 422, the request has another body, or the answer was too large to be kept.
    """
    return partial(_replay, kept)


async def _replay(kept: KeptAnswer, scope: Scope, receive: Receive, send: Send) -> None:
    body = _Body(scope, receive)
    await body.read_rest()
    if not body.is_complete:
        return
    if body.fingerprint() != kept.fingerprint:
        raise Problem(422, _OTHER_BODY, field=HEADER)
    if kept.body is None:
        raise Problem(422, _TOO_LARGE, field=HEADER)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(kept.headers)]
    headers.append((b"idempotency-replayed", b"true"))
    await send({"type": "http.response.start", "status": kept.status, "headers": headers})
    await send({"type": "http.response.body", "body": kept.body})


async def keep_forgetting(store: Store) -> None:
    """Delete kept answers whose time is over, a few at a time, for as long as the worker runs."""
    while True:
        await asyncio.sleep(FORGOTTEN_EVERY_S)
        with suppress(StorageUnavailable):
            while await store.forget_answers():
                await asyncio.sleep(PAUSE_S)


class _Body:
    """Receives the body of a request, and computes its fingerprint."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._fingerprint = BodyFingerprint(scope)
        self._is_over = False

    @property
    def is_complete(self) -> bool:
        """Whether the whole body has arrived."""
        return self._fingerprint.is_complete

    async def receive(self) -> Message:
        """Receive the next ASGI message."""
        message = await self._receive()
        if not self.is_complete:
            self._fingerprint.add(message)
        self._is_over = self.is_complete or message["type"] == "http.disconnect"
        return message

    async def read_rest(self) -> None:
        """Read on until the end of the body, or until the caller disconnects."""
        while not self._is_over:
            await self.receive()

    def fingerprint(self) -> str:
        """Return the fingerprint of the complete body."""
        return self._fingerprint.hexadecimal()


class _Answer:
    """Records an answer as it is sent; no more of its body than is kept."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._size = 0
        self._is_over = False

    def add(self, message: Message) -> None:
        """Record a message."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
            return
        chunk = message.get("body", b"")
        self._size += len(chunk)
        if self._size <= MOST_BYTES:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()
        self._is_over = not message.get("more_body", False)

    @property
    def is_to_keep(self) -> bool:
        """Whether a retry gets this answer again: it is complete, and either a success or an error about the body."""
        return self._is_over and (200 <= self._status < 300 or self._status in _KEPT_ERRORS)

    def kept(self, fingerprint: str) -> KeptAnswer:
        """Return the answer as it is stored."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._headers]
        body = b"".join(self._chunks) if self._size <= MOST_BYTES else None
        return KeptAnswer(fingerprint, self._status, json.dumps(headers), body)
