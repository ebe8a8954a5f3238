"""Serves WebSockets: turns the handshake and each message into a request of its own, and sends back what is answered.

Each of these requests passes through all middlewares, as any other request does. So keys, limits, the usage log, the
access log and the metrics apply to each message, and this module does nothing about them.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import Gauge
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.draining import Draining
from api.routes import MESSAGE
from api.stream_requests import handshake_scope, message_scope, subprotocol
from api.uploads import IMAGE, TEXT
from inference.fair_shares import FairShares, total_for
from web.internal_requests import Answer, read_answer, whole_body
from web.problem import unavailable

# How many WebSockets of one user a worker holds open. Other users can open a third more.
MOST_STREAMS = 200
# A WebSocket is closed after this time without a message, and in any case this long after it was opened; seconds.
IDLE_S, OPEN_S = 300.0, 3600.0
# How long a caller may take to read an answer, seconds.
UNREAD_S = 60.0

# RFC 6455, 7.4, and IANA's list of codes.
GOING_AWAY, NOT_PERMITTED, RESTARTS = 1001, 1008, 1012

open_streams = Gauge("classifier_open_streams", "WebSockets that are open.", multiprocess_mode="livesum")

_TOO_MANY = "Too many streams are open; close one, or open this one again shortly."
# Further messages have the same key, so they would be refused too.
_KEY_REFUSED = (401, 403)


class _CallerLeft(Exception):
    """The caller has closed the WebSocket, or does not read what is sent."""


@dataclass(frozen=True)
class StreamOptions:
    """What all WebSockets of a worker share.

    Args:
        origins: the origins of web pages elsewhere that may open a WebSocket.
        max_message_bytes: the largest message.
        max_bytes_at_once: the most bytes of all messages that wait or are incomplete; users share them.
        draining: tells when the worker ends.
    """

    origins: Iterable[str]
    max_message_bytes: int
    max_bytes_at_once: int
    draining: Draining


class Streams:
    """Wraps the whole application, and hands it no scope of a WebSocket.

    Args:
        app: the application, which answers HTTP only.
        options: what all WebSockets share.
    """

    def __init__(self, app: ASGIApp, options: StreamOptions) -> None:
        self.app = app
        self.options = options
        self.places = FairShares()
        self.message_bytes = FairShares()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return await self.app(scope, receive, send)
        await Stream(self, scope, receive, send).run()


class Stream:
    """One WebSocket, from its handshake to its end.

    Args:
        streams: what it shares with others.
        scope: the ASGI scope of the WebSocket.
        receive: receives its messages.
        send: sends messages; waits while the caller reads too slowly.

    Attributes:
        origins: the origins of web pages elsewhere that may open it.
    """

    def __init__(self, streams: Streams, scope: Scope, receive: Receive, send: Send) -> None:
        self.origins = streams.options.origins
        self._streams = streams
        self._scope = scope
        self._receive = receive
        self._send = send
        self._user: str | None = None
        # Bytes of messages that are not answered yet: at the server, and the one received ahead.
        self._bytes_at_server = self._bytes_ahead = self._bytes_taken = 0
        # Receives the next message while one is answered, to notice if the caller leaves.
        self._ahead: asyncio.Task[Message] | None = None

    async def run(self) -> None:
        """Answer the handshake, then each message, until one side closes the WebSocket."""
        await self._receive()
        try:
            handshake = handshake_scope(self._scope, self)
            answer = await read_answer(self._streams.app, handshake, whole_body(b"", asyncio.Event().wait))
            if answer.status != 101:
                return await self._refuse(answer)
            await self._accept(answer)
            code, reason = await self._answer_messages()
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (_CallerLeft, OSError):
            # A server raises an OSError where it can't send any more.
            return
        finally:
            self._end()

    def admit(self, user: str) -> None:
        """Take one of the user's places for this WebSocket.

        Raises:
            Problem: 503, the user has too many WebSockets open.
        """
        places = self._streams.places
        if not places.can_take(user, 1, total_for(MOST_STREAMS)):
            raise unavailable(_TOO_MANY, kind="overload")
        places.take(user, 1)
        open_streams.inc()
        self._user = user

    async def _refuse(self, answer: Answer) -> None:
        if "websocket.http.response" not in self._scope.get("extensions", {}):
            return await self._send({"type": "websocket.close", "code": NOT_PERMITTED})
        headers = [*answer.headers.raw, (b"connection", b"close")]
        await self._send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "websocket.http.response.body", "body": answer.body})

    async def _accept(self, answer: Answer) -> None:
        ids = [header for header in answer.headers.raw if header[0] == b"x-request-id"]
        accept = {"type": "websocket.accept", "subprotocol": subprotocol(self._scope), "headers": ids}
        await self._send({**accept, "holds": self._hold_at_server})

    async def _answer_messages(self) -> tuple[int, str]:
        """Answer messages, one after the other; return the code to close with, and why.

        Raises:
            _CallerLeft: the caller has left.
        """
        now = asyncio.get_running_loop().time
        ends = now() + OPEN_S
        self._ahead = asyncio.create_task(self._receive_ahead())
        draining = asyncio.create_task(self._streams.options.draining.wait())
        try:
            while now() < ends:
                within_s = min(IDLE_S, ends - now())
                await asyncio.wait((self._ahead, draining), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
                if self._ahead.done():
                    status = await self._answer(self._ahead.result())
                    if status in _KEY_REFUSED:
                        return NOT_PERMITTED, "This key is refused."
                elif draining.done():
                    return RESTARTS, "The service restarts; connect again."
                elif within_s == IDLE_S:
                    return GOING_AWAY, f"No message came for {IDLE_S:.0f} s; connect again."
            return GOING_AWAY, f"Open for {OPEN_S:.0f} s; connect again."
        finally:
            draining.cancel()

    async def _answer(self, message: Message) -> int:
        """Answer a message, and begin to receive the next one; return the status of the answer."""
        if message["type"] == "websocket.disconnect":
            raise _CallerLeft
        text = message.get("text")
        content_type, body = (TEXT, text.encode()) if text is not None else (IMAGE, message["bytes"])
        self._bytes_ahead = 0
        self._ahead = asyncio.create_task(self._receive_ahead())
        scope = message_scope(self._scope, MESSAGE, content_type, len(body))
        answer = await read_answer(self._streams.app, scope, whole_body(body, self._wait_until_left))
        await self._send_answer(answer)
        return answer.status

    async def _send_answer(self, answer: Answer) -> None:
        if self._ahead is not None and _has_left(self._ahead):
            raise _CallerLeft
        try:
            async with asyncio.timeout(UNREAD_S):
                await self._send({"type": "websocket.send", "text": answer.body.decode()})
        except TimeoutError:
            raise _CallerLeft from None

    async def _receive_ahead(self) -> Message:
        message = await self._receive()
        self._bytes_ahead = len(message.get("bytes") or message.get("text") or b"")
        self._take_bytes()
        return message

    async def _wait_until_left(self) -> None:
        """Return once the caller has left; never if another message has come instead."""
        assert self._ahead is not None
        await asyncio.wait((self._ahead,))
        if not _has_left(self._ahead):
            await asyncio.Event().wait()

    def _hold_at_server(self, size: int) -> bool:
        """Note the bytes of messages that the HTTP server holds; return whether it may hold that many."""
        self._bytes_at_server = size
        return self._take_bytes()

    def _take_bytes(self) -> bool:
        if self._user is None:
            return True
        more = self._bytes_at_server + self._bytes_ahead - self._bytes_taken
        shares, total = self._streams.message_bytes, self._streams.options.max_bytes_at_once
        if more > 0 and not shares.can_take(self._user, more, total):
            return False
        if more > 0:
            shares.take(self._user, more)
        else:
            shares.give_back(self._user, -more)
        self._bytes_taken += more
        return True

    def _end(self) -> None:
        if self._ahead is not None:
            self._ahead.cancel()
        if self._user is not None:
            self._streams.places.give_back(self._user, 1)
            open_streams.dec()
            self._streams.message_bytes.give_back(self._user, self._bytes_taken)
            self._user = None


def _has_left(ahead: asyncio.Task[Message]) -> bool:
    return ahead.done() and ahead.result()["type"] == "websocket.disconnect"
