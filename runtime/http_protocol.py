"""What uvicorn reads of HTTP, within bounds: requests whose headers are small, and complete in time, and not too many.

What is no HTTP, or goes beyond the bounds, is told in a problem: no application is asked.
"""

import asyncio
from typing import Any

import httptools
import uvicorn.config
from uvicorn.protocols.http.flow_control import FlowControl

from runtime import connections
from runtime.lingering_close import PartingProtocol
from web.matching import IS_HANDSHAKE
from web.problem import Problem, unavailable

MOST_HEAD_BYTES = 32 * 1024
MOST_HEADERS = 100
MOST_WAITING = 8
HEAD_WITHIN_S = 10
# Bytes of framing that a byte of a chunked body may bring along: a chunk of one byte has five.
FRAMING_FOR_A_BYTE = 16
_END_OF_HEAD = b"\r\n\r\n"


def _not_http() -> Problem:
    return Problem(400, "The request is not valid HTTP/1.1; let an HTTP library write it.")


def _http_2() -> Problem:
    return Problem(400, "This port does not speak HTTP/2; set the client to HTTP/1.1, or ask by way of a proxy.")


def _too_large() -> Problem:
    bounds = f"larger than {MOST_HEAD_BYTES} bytes, or more than {MOST_HEADERS}"
    return Problem(431, f"The request line and headers are {bounds}; send fewer and smaller ones.")


def _too_slow() -> Problem:
    return Problem(408, f"The headers were not complete within {HEAD_WITHIN_S} s; send the request again at once.")


def _all_busy() -> Problem:
    return unavailable("Too many connections are open; send the request again shortly.", kind="overload")


class BoundedProtocol(PartingProtocol):
    """uvicorn's protocol, which takes no more of a request's headers, nor more requests at a time, than it must.

    What arrives is handed to the parser in pieces that end where headers end, so that each bound is seen when it is
    passed, and requests beyond those that may wait stay unread.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headers = []
        # Bytes that are no body: of the request line and headers, then of chunks' lengths, extensions and trailers.
        self._framing_bytes = 0
        self._body_left = 0
        # Whether the request whose head is being read again asked to become a WebSocket.
        self._is_handshake = False
        self._held = b""
        # What is to be told once the requests before have their answers.
        self._refusal: Problem | None = None
        self._waits_since_s = self.open.now_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        if not self.open.admit(self):
            self.part(_all_busy())

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.throws_away(data) or self._refusal is not None:
            return
        if self._held:
            self._held += data
            return
        if not self.is_in_request and self._framing_bytes == 0 and self.cycle is not None:
            self._waits_since_s = self.open.now_s
        self._take(data)

    def _take(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            if len(self.pipeline) >= MOST_WAITING:
                return self._hold(data[start:])
            end = self._end_of_piece(data, start)
            taken = self._feed(data[start:end])
            if taken is None:
                return
            start += taken

    def _end_of_piece(self, data: bytes, start: int) -> int:
        if self._body_left > 0:
            return start + min(self._body_left, len(data) - start)
        most = start + MOST_HEAD_BYTES - self._framing_bytes
        end = data.find(_END_OF_HEAD, start, most)
        return min(most, len(data)) if end < 0 else end + len(_END_OF_HEAD)

    def _feed(self, piece: bytes) -> int | None:
        """How many bytes the parser took; None where it is to get no others."""
        self._framing_bytes += len(piece)
        taken = len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if self._feed(self._without_upgrade()) is None:
                return None
            taken = upgrade.args[0]
        except httptools.HttpParserError:
            self._refuse(self._wrong())
            return None
        self._framing_bytes = max(self._framing_bytes, 0)
        if self._framing_bytes >= MOST_HEAD_BYTES or (self.is_in_request and len(self.headers) > MOST_HEADERS):
            self._refuse(_too_large())
            return None
        return taken

    def _without_upgrade(self) -> bytes:
        """The head of a request again, for a new parser: this one takes the rest for another protocol."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        line = b"%s %s HTTP/%s" % (method, self.url, version.encode())
        kept = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        offered = b",".join(value.lower() for name, value in self.headers if name == b"upgrade")
        self._is_handshake = method == b"GET" and b"websocket" in (one.strip() for one in offered.split(b","))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._framing_bytes = 0
        return b"\r\n".join([line, *kept, b"", b""])

    def on_message_begin(self) -> None:
        """See uvicorn."""
        super().on_message_begin()
        self.is_in_request = True
        if self._is_handshake:
            self._is_handshake = False
            self.scope["state"][IS_HANDSHAKE] = True

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
        # Trailers may not pass for headers.
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
        """What is wrong with what the parser does not take."""
        if len(self.headers) > MOST_HEADERS:
            return _too_large()
        return _http_2() if self.is_in_request and self.parser.get_method() == b"PRI" else _not_http()

    def _refuse(self, problem: Problem) -> None:
        """Tell the caller, behind the answers to the requests before; nothing more is read."""
        if self.is_in_body and not self.pipeline:
            self.part(None if self.cycle.response_started else problem)
        elif self.is_answering():
            self._refusal = problem
            if self.is_in_body:
                self.pipeline.popleft()
        else:
            self.part(problem)

    def _hold(self, data: bytes) -> None:
        self._held, self._flow.is_held = data, True
        self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """See uvicorn."""
        super().on_response_complete()
        if self.pipeline or self.is_parting:
            return
        if self._held:
            held, self._held, self._flow.is_held = self._held, b"", False
            self._take(held)
        elif self._refusal is not None and not self.is_answering():
            self.part(self._refusal)

    def rest(self) -> None:
        """See `PartingProtocol`."""
        super().rest()
        self._waits_since_s = self.open.now_s

    def look_after(self) -> None:
        """Let go of a caller who sends no request, or never the whole of its headers."""
        super().look_after()
        if self.is_answering() or self.is_leaving or self.transport.is_closing():
            return
        waits_s = self.open.now_s - self._waits_since_s
        if self.is_in_request or self._framing_bytes:
            if waits_s > HEAD_WITHIN_S:
                self.part(_too_slow())
        elif waits_s > (HEAD_WITHIN_S if self.cycle is None else self.timeout_keep_alive):
            self.transport.close()


def _with_path(target: bytes) -> bytes:
    """The target of a request, whose path may be left out where it names the host (RFC 9112, 3.2.2)."""
    parsed = httptools.parse_url(target)
    return target if parsed.path is not None else b"/" + (b"?" + parsed.query if parsed.query else b"")


class _Flow(FlowControl):
    """uvicorn's flow control, which does not read on while requests that were read are held back."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


def use() -> None:
    """Have every server of this process speak so; BentoML lets none of its settings name a protocol."""
    connections.allow_files()
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedProtocol.__name__}"
