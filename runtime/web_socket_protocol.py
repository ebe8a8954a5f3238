"""Limits what a WebSocket may send, and what its caller may leave unread, by extending uvicorn's protocol class.

uvicorn limits the size of a message. It limits neither the time for one, nor the bytes that all connections hold, nor
what piles up for a caller who sends pings and reads nothing. `tests/test_framework_internals.py` checks what this
relies on.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from uvicorn.server import ServerState
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from runtime import connections as open_connections

# Beyond its first seconds, a message must arrive at this rate.
PACE_GRACE_S, LEAST_BYTES_PER_S = 10, 8192
# How long a caller may read nothing of what is sent before the connection is closed.
UNREAD_S = 20
# How long a caller may take to confirm that the WebSocket is closed.
CLOSE_WITHIN_S = 3.0

TOO_SLOW, TOO_LARGE, TRY_LATER = 1008, 1009, 1013

# uvicorn writes the query to its log, and a caller may have put a key there. The access log names the route.
_silent = logging.getLogger("bentoml.web_socket")
_silent.setLevel(logging.CRITICAL)


class BoundedWebSocketProtocol(WSProtocol):
    """uvicorn's WebSocket protocol with bounds on what arrives, on its pace, and on what is not read.

    No data is compressed: a small frame could become a large one. Nothing is read before the handshake is accepted,
    while a message waits, or while the caller reads nothing.

    Attributes:
        max_message_bytes: the largest message; a larger one closes the connection with 1009.
    """

    max_message_bytes = 1024 * 1024

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        config.ws_per_message_deflate, config.ws_max_size = False, self.max_message_bytes
        super().__init__(config, server_state, app_state)
        self.registry = open_connections.of(server_state)
        self.logger = _silent
        self.close_timeout = CLOSE_WITHIN_S
        self._is_accepted = False
        self._is_write_paused = False
        # Asks the application whether this many bytes of messages may be held here.
        self._may_hold: Callable[[int], bool] = lambda _: True
        self._queued_bytes = 0
        self._received_at_s = 0.0
        # The bytes of the incomplete message when its time began to count, and that time.
        self._paced_bytes = self._paced_since_s = 0
        self._unsent_bytes = self._unsent_since_s = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.read_paused = True
        transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received_at_s = self.loop.time()
        super().data_received(data)
        if not self.close_sent and not self._may_hold(self._queued_bytes + self.buffer.length):
            self._close(TRY_LATER, "Too many large messages are under way; connect again shortly.")

    def handle_message(self, event: TextMessage | BytesMessage) -> None:
        """See uvicorn."""
        if self.buffer.length == 0:
            self._begin_pace()
        # `buffer` is empty again once the message is complete.
        size = self.buffer.length + len(event.data)
        if size > self.max_message_bytes:
            return self._close(TOO_LARGE, f"The message is larger than {self.max_message_bytes} bytes.")
        super().handle_message(event)
        if event.message_finished:
            self._queued_bytes += size

    def handle_close(self, event: CloseConnection) -> None:
        """See uvicorn: the caller closes, or what it sent is no WebSocket frame."""
        if self.conn.state is ConnectionState.OPEN and not self.close_sent:
            return self._close(event.code, "This is not valid in a WebSocket; let a library write it.")
        super().handle_close(event)

    async def receive(self) -> Any:
        """See uvicorn: return the next ASGI message, and read on if it was the last one here."""
        message = await self.queue.get()
        if message["type"] == "websocket.receive":
            self._queued_bytes -= len(message.get("bytes") or message.get("text") or b"")
            self._may_hold(self._queued_bytes + self.buffer.length)
        if self.queue.empty():
            self._resume_reading()
        return message

    async def send(self, message: Any) -> None:
        """See uvicorn."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            self._is_accepted = True
            self._may_hold = message.get("holds", self._may_hold)
            self._resume_reading()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`. Pings are answered at once, so no more of them are read either."""
        super().pause_writing()
        self._is_write_paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._is_write_paused = False
        if not self.read_paused:
            self._resume_reading()

    def keepalive_timeout(self) -> None:
        """See uvicorn: no answer to a ping came. It may be waiting behind messages that are not read yet."""
        if self.read_paused or self._is_write_paused or self._received_at_s > self.ping_sent_at:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    def shutdown(self) -> None:
        """See uvicorn: the worker shuts down. The application answers what is under way, and closes by itself."""
        self.stop_keepalive()
        if self.close_sent:
            super().shutdown()

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def check_timeouts(self) -> None:
        """Close a connection whose message comes too slowly, or whose caller does not read what is sent."""
        now_s = self.registry.now_s
        unsent_bytes = self.transport.get_write_buffer_size()
        if unsent_bytes == 0 or unsent_bytes != self._unsent_bytes:
            self._unsent_since_s = now_s
        elif now_s - self._unsent_since_s > UNREAD_S:
            self.abort()
        self._unsent_bytes = unsent_bytes
        if self.buffer.length and not self.read_paused and not self._is_write_paused and not self.close_sent:
            came = self.buffer.length - self._paced_bytes
            if now_s - self._paced_since_s > PACE_GRACE_S + came / LEAST_BYTES_PER_S:
                self._close(TOO_SLOW, "The message came too slowly; connect again, and send a smaller image.")

    def _resume_reading(self) -> None:
        if self._is_accepted and not self._is_write_paused and not self.transport.is_closing():
            self.read_paused = False
            self._begin_pace()
            self.transport.resume_reading()

    def _begin_pace(self) -> None:
        self._paced_bytes, self._paced_since_s = self.buffer.length, self.registry.now_s

    def _close(self, code: int, reason: str) -> None:
        """Close the connection, whatever the application does.

        What still comes is discarded for a while: closing a connection with unread bytes would reset it, and the caller
        would not read the code.
        """
        self.close_sent = True
        self.buffer.clear()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if not self.transport.is_closing():
            self.transport.write(self.conn.send(CloseConnection(code=code, reason=reason)))
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)
            self.transport.resume_reading()


def protocol_for(max_message_bytes: int) -> type[BoundedWebSocketProtocol]:
    """Return the protocol for WebSockets whose messages have at most this many bytes."""
    return type("WebSocketProtocol", (BoundedWebSocketProtocol,), {"max_message_bytes": max_message_bytes})
