"""Limits what a connection may send: the size of headers, the time for them, and the number of waiting requests.

Requests that are no valid HTTP, or exceed a limit, are answered with a problem of `http_limits.py`.
uvicorn has no settings for these limits, so its protocol class is extended; `tests/test_framework_internals.py` checks
what this relies on.
"""

import asyncio
from typing import Any, ClassVar

import httptools
import uvicorn.config
from uvicorn.protocols.http.flow_control import FlowControl

from runtime import connections as open_connections
from runtime import http_limits, web_socket_handshake
from runtime.http_limits import FRAMING_FOR_A_BYTE, HEAD_WITHIN_S, MOST_HEAD_BYTES, MOST_HEADERS, MOST_WAITING
from runtime.lingering_close import LingeringProtocol
from web.matching import IS_HANDSHAKE
from web.problem import Problem

_END_OF_HEAD = b"\r\n\r\n"


class LimitedProtocol(LingeringProtocol):
    """uvicorn's HTTP protocol with limits on headers and on pipelined requests.

    Data goes to the parser in pieces that end where headers end. So each limit is checked before the next piece, and
    requests beyond `MOST_WAITING` stay unread.

    Attributes:
        web_sockets: the paths that have a WebSocket, each with the size of its largest message, bytes.
    """

    web_sockets: ClassVar[dict[bytes, int]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headers = []
        # Bytes that are not body: the request line and headers, then chunk sizes, chunk extensions and trailers.
        self._framing_bytes = 0
        self._body_left = 0
        # Whether the request whose head is parsed again asked for a WebSocket.
        self._is_handshake = False
        self._held = b""
        # The problem to send once the requests before it are answered.
        self._refusal: Problem | None = None
        self._waits_since_s = self.registry.now_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        if not self.registry.admit(self):
            self.close_after(http_limits.all_busy())

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.discards(data) or self._refusal is not None:
            return
        if self._held:
            self._held += data
            return
        if not self.is_in_request and self._framing_bytes == 0 and self.cycle is not None:
            self._waits_since_s = self.registry.now_s
        self._take(data)

    def _take(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            if len(self.pipeline) >= MOST_WAITING:
                return self._hold(data[start:])
            close = self._end_of_piece(data, start)
            taken = self._feed(data[start:close], close == len(data))
            if taken is None:
                return
            start += taken

    def _end_of_piece(self, data: bytes, start: int) -> int:
        if self._body_left > 0:
            return start + min(self._body_left, len(data) - start)
        most = start + MOST_HEAD_BYTES - self._framing_bytes
        end = data.find(_END_OF_HEAD, start, most)
        return min(most, len(data)) if end < 0 else end + len(_END_OF_HEAD)

    def _feed(self, piece: bytes, is_last: bool = False) -> int | None:
        """Feed the parser; return how many bytes it took, or None where it must get no more.

        Args:
            piece: the bytes.
            is_last: whether no bytes have come after them yet.
        """
        self._framing_bytes += len(piece)
        taken = len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if is_last and self._opens_web_socket():
                self._become_web_socket()
                return None
            if self._feed(self._without_upgrade()) is None:
                return None
            taken = upgrade.args[0]
        except httptools.HttpParserError:
            self._refuse(self._wrong())
            return None
        self._framing_bytes = max(self._framing_bytes, 0)
        if self._framing_bytes >= MOST_HEAD_BYTES or (self.is_in_request and len(self.headers) > MOST_HEADERS):
            self._refuse(http_limits.too_large())
            return None
        return taken

    def _opens_web_socket(self) -> bool:
        return (
            self.url.partition(b"?")[0] in self.web_sockets
            and (self.parser.get_method(), self.parser.get_http_version()) == (b"GET", "1.1")
            and not self.is_answering()
            and web_socket_handshake.is_complete(self.url, self.headers)
        )

    def _become_web_socket(self) -> None:
        """Hand the connection over to the protocol for WebSockets."""
        # Imported only here: most workers never see a WebSocket.
        from runtime.web_socket_protocol import protocol_for

        path = self.url.partition(b"?")[0]
        self.ws_protocol_class = protocol_for(self.web_sockets[path])
        self.scope["method"] = "GET"
        self.scope["headers"] = web_socket_handshake.kept_headers(self.headers)
        self.registry.forget(self)
        self._answers.send()
        self.handle_websocket_upgrade()
        self.forget_transport()

    def _without_upgrade(self) -> bytes:
        """Return the head of a request without `Upgrade`, for a new parser: this one stops at an upgrade."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        self._is_handshake = web_socket_handshake.is_attempted(method, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._framing_bytes = 0
        line = b"%s %s HTTP/%s" % (method, self.url, version.encode())
        return web_socket_handshake.head_without_upgrade(line, self.headers)

    def on_message_begin(self) -> None:
        """See uvicorn."""
        super().on_message_begin()
        self.is_in_request = True
        if self._is_handshake:
            self._is_handshake = False
            self.scope["state"][IS_HANDSHAKE] = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """See uvicorn. The parser leaves white space behind a value, which is no part of it (RFC 9110, 5.5)."""
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """See uvicorn."""
        if len(self.headers) > MOST_HEADERS or self.parser.get_method() == b"CONNECT":
            raise ValueError("not to be served")
        if self.parser.should_upgrade():
            return
        if not self.url.startswith(b"/"):
            self.url = _with_path(self.url)
        super().on_headers_complete()
        self._body_left = next((int(value) for name, value in self.headers if name == b"content-length"), 0)
        self._framing_bytes = 0
        # Trailers come into the same list, and must not be taken for headers.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """See uvicorn."""
        self._body_left -= len(body)
        self._framing_bytes -= (1 + FRAMING_FOR_A_BYTE) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See uvicorn."""
        if self.parser.should_upgrade():
            return
        if self.is_in_body and len(self.headers) > MOST_HEADERS:
            raise ValueError("too many trailers")
        self._framing_bytes = self._body_left = 0
        super().on_message_complete()

    def _wrong(self) -> Problem:
        """Return the problem that says why the parser refused the bytes."""
        if len(self.headers) > MOST_HEADERS:
            return http_limits.too_large()
        if self.is_in_request and self.parser.get_method() == b"PRI":
            return http_limits.http_2()
        return http_limits.not_http()

    def _refuse(self, problem: Problem) -> None:
        """Send a problem after the answers to the requests before it; read nothing more."""
        if self.is_in_body and not self.pipeline:
            self.close_after(None if self.cycle.response_started else problem)
        elif self.is_answering():
            self._refusal = problem
            if self.is_in_body:
                self.pipeline.popleft()
        else:
            self.close_after(problem)

    def _hold(self, data: bytes) -> None:
        self._held, self._flow.is_held = data, True
        self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """See uvicorn."""
        super().on_response_complete()
        if self.pipeline or self.is_last_answer_sent:
            return
        if self._held:
            held, self._held, self._flow.is_held = self._held, b"", False
            self._take(held)
        elif self._refusal is not None and not self.is_answering():
            self.close_after(self._refusal)

    def become_idle(self) -> None:
        """See `LingeringProtocol`."""
        super().become_idle()
        self._waits_since_s = self.registry.now_s

    def check_timeouts(self) -> None:
        """Close a connection that sends no request, or takes too long over its headers."""
        super().check_timeouts()
        if self.is_answering() or self.is_lingering or self.transport.is_closing():
            return
        waits_s = self.registry.now_s - self._waits_since_s
        if self.is_in_request or self._framing_bytes:
            if waits_s > HEAD_WITHIN_S:
                self.close_after(http_limits.too_slow())
        elif waits_s > (HEAD_WITHIN_S if self.cycle is None else self.timeout_keep_alive):
            self.transport.close()


def _with_path(target: bytes) -> bytes:
    """Return a request target with a path, which may be missing where the target names the host (RFC 9112, 3.2.2)."""
    parsed = httptools.parse_url(target)
    return target if parsed.path is not None else b"/" + (b"?" + parsed.query if parsed.query else b"")


class _Flow(FlowControl):
    """uvicorn's flow control, which stays paused while data that was read is held back."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


def use(web_sockets: dict[bytes, int]) -> None:
    """Make every uvicorn server of this process use the protocol. BentoML has no setting for it.

    Args:
        web_sockets: see `LimitedProtocol`.
    """
    open_connections.raise_file_limit()
    LimitedProtocol.web_sockets = web_sockets
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{LimitedProtocol.__name__}"
