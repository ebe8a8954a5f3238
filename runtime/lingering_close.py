"""Closes connections so that the last answer also reaches a caller who is still sending its request body.

Closing a connection with unread bytes resets it, and the caller loses what it has not read yet. So after the answer,
the rest of the body is read and discarded, within limits of bytes and time: a lingering close (RFC 9112, 9.6).
"""

import asyncio
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from runtime import connections as open_connections
from web import request_id, security_headers
from web.problem import Problem

MOST_DISCARDED_BYTES = 128 * 1024 * 1024
LINGER_S = 30
SILENT_S = 5
# How long a connection lingers after the worker got SIGTERM.
LINGER_AT_SHUTDOWN_S = 3
# How long a caller may read nothing of its answer before the connection is closed.
UNREAD_S = 20
# The most bytes of an answer that are kept until the end of a turn of the event loop.
MOST_UNSENT_BYTES = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class LingeringProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a lingering close, and time limits for callers who do not read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.registry = open_connections.of(self.server_state)
        # Whether a request has begun; and whether its headers are complete but its body is not.
        self.is_in_request = False
        self.is_in_body = False
        # Whether the last answer was sent: all further data is discarded.
        self.is_last_answer_sent = False
        self._answered: RequestResponseCycle | None = None
        # Whether arriving data is discarded: the rest of a body after its answer, or all data after the last answer.
        self.is_lingering = False
        self._is_shutting_down = False
        self._discarded_bytes = 0
        self._linger_until_s = 0
        self._last_received_s = 0
        # Bytes of the answer that the caller has not read, and since when.
        self._unsent_bytes = 0
        self._unsent_since_s = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._answers = _Answers(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.registry.forget(self)
        super().connection_lost(exc)
        self._disconnect_request()
        self.forget_transport()

    def forget_transport(self) -> None:
        """Break a reference cycle: garbage is collected seldom (see `freeze_gc`)."""
        self._answers.end = self.transport.close

    def close_after(self, problem: Problem | None = None) -> None:
        """Send the last answer, if there is one, end our side of the connection, and discard what still arrives."""
        if self.is_last_answer_sent or self.transport.is_closing():
            return
        self.is_last_answer_sent = True
        self._answers.send()
        if problem is not None:
            self.transport.write(self._bytes_of(problem))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._disconnect_request()
        self.flow.resume_reading()
        self._linger()

    def is_answering(self) -> bool:
        """Return whether a request is being answered."""
        return self._answered is not None and not self._answered.response_complete

    def close(self) -> None:
        """Close the connection after an answer; with a lingering close where the caller may still be sending."""
        if self.is_in_request or self.pipeline:
            self.close_after()
        else:
            self.transport.close()

    def discards(self, data: bytes) -> bool:
        """Count data that arrived; return whether it must be discarded."""
        if self.is_lingering:
            self._last_received_s = self.registry.now_s
            self._discarded_bytes += len(data)
            if self._discarded_bytes > MOST_DISCARDED_BYTES:
                self.abort()
                return True
        return self.is_last_answer_sent

    def on_headers_complete(self) -> None:
        """See uvicorn: a request begins."""
        super().on_headers_complete()
        answers = _ExpectedAnswers(self._answers, self.cycle) if self.expect_100_continue else self._answers
        self.cycle.transport = cast(asyncio.Transport, answers)
        self.is_in_body = True
        self.registry.note_busy(self)

    def on_message_complete(self) -> None:
        """See uvicorn: a request was received completely."""
        super().on_message_complete()
        self.is_in_request = self.is_in_body = False
        if self.is_lingering and not self.is_last_answer_sent:
            self.become_idle()

    def on_response_complete(self) -> None:
        """See uvicorn. It starts a timer for each answer here; `check_timeouts` replaces those timers."""
        self.server_state.total_requests += 1
        if self.is_last_answer_sent or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.is_in_body:
            self._linger()
        else:
            self.become_idle()

    def become_idle(self) -> None:
        """Wait for the next request of the connection."""
        self.is_lingering = False
        self.registry.note_idle(self)

    def abort(self) -> None:
        """Close the connection at once."""
        self._answers.send()
        self.transport.abort()

    def shutdown(self) -> None:
        """See uvicorn: the worker shuts down."""
        self._is_shutting_down = True
        self._answers.send()
        if not self.is_lingering:
            return super().shutdown()
        self.close_after()
        self._linger_until_s = min(self._linger_until_s, self.registry.now_s + LINGER_AT_SHUTDOWN_S)

    def check_timeouts(self) -> None:
        """Abort a connection that lingers too long, or whose caller does not read its answer."""
        now_s = self.registry.now_s
        if self.is_lingering and (now_s > self._linger_until_s or now_s - self._last_received_s > SILENT_S):
            return self.abort()
        unsent_bytes = self.transport.get_write_buffer_size()
        # A closing connection exists only until its answer is sent: slow reading does not extend its time.
        if unsent_bytes == 0 or (unsent_bytes != self._unsent_bytes and not self.transport.is_closing()):
            self._unsent_since_s = now_s
        elif now_s - self._unsent_since_s > (LINGER_AT_SHUTDOWN_S if self._is_shutting_down else UNREAD_S):
            self.abort()
        self._unsent_bytes = unsent_bytes

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _disconnect_request(self) -> None:
        # uvicorn disconnects the latest request; of several pipelined ones, an earlier one may be under way.
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()

    def _linger(self) -> None:
        if not self.is_lingering:
            self.is_lingering, self._discarded_bytes = True, 0
            self._last_received_s = self.registry.now_s
            self._linger_until_s = self._last_received_s + (
                LINGER_AT_SHUTDOWN_S if self._is_shutting_down else LINGER_S
            )
            self.registry.note_lingering(self)

    def _received_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of the request that arrives, as far as they have been parsed."""
        if self.is_in_body:
            return list(self.cycle.scope["headers"])
        return self.headers if self.is_in_request else []

    def _bytes_of(self, problem: Problem) -> bytes:
        shown = request_id.chosen_by_caller({"headers": self._received_headers()}) or request_id.new()
        response = problem.response(shown)
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            *security_headers.DATA_HEADERS,
            (b"x-request-id", shown.encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)


class _Answers:
    """The transport that answers are written to; closing it does a lingering close.

    What is written in one turn of the event loop is sent at once. uvicorn writes headers and body one after the other:
    two system calls, and a caller who is woken twice.
    """

    def __init__(self, protocol: LingeringProtocol) -> None:
        self._send = protocol.transport.write
        self._call_soon = protocol.loop.call_soon
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self.is_closing = protocol.transport.is_closing
        self.end = protocol.close

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self._call_soon(self.send)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        # The transport pauses an app that writes faster than its caller reads, by what it was given.
        if self._unsent_bytes > MOST_UNSENT_BYTES:
            self.send()

    def send(self) -> None:
        """Send what was written; called before whatever else is done with the connection."""
        if self._unsent:
            unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
            self._send(b"".join(unsent))

    def close(self) -> None:
        self.send()
        self.end()


class _ExpectedAnswers:
    """The transport for a request with `Expect: 100-continue`.

    Where 100 Continue was never sent, nobody knows whether the body will follow: the connection is then closed.
    """

    def __init__(self, answers: _Answers, cycle: RequestResponseCycle) -> None:
        self._answers = answers
        self._cycle = cycle
        self._keeps_alive = cycle.keep_alive
        self.is_closing = answers.is_closing
        self.close = answers.close
        cycle.keep_alive = False

    def write(self, data: bytes) -> None:
        if data == _CONTINUE:
            self._cycle.keep_alive = self._keeps_alive
        self._cycle.transport = cast(asyncio.Transport, self._answers)
        self._answers.write(data)
