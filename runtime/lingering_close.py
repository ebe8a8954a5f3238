"""How a connection ends: so that the last answer also reaches a caller who is still sending, and reads afterwards.

To close a connection with bytes unread resets it, and what the caller has not read yet is lost. So what is left of a
body is taken in and thrown away, within bounds of bytes and time, once the answer has left (RFC 9112, 9.6).
"""

import asyncio
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from runtime import connections
from web import request_id, security_headers
from web.problem import Problem

MOST_LEFT_BYTES = 128 * 1024 * 1024
LEFT_WITHIN_S = 30
SILENT_S = 5
# Once the worker is told to end.
ENDS_WITHIN_S = 3
# Until a caller who reads nothing of an answer is let go.
UNREAD_S = 20
_LEAVE_TO_SEND = b"HTTP/1.1 100 Continue\r\n\r\n"


class PartingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which takes in what is left of a body after its answer, and waits for no caller forever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.open = connections.of(self.server_state)
        # Whether a request has begun, and whether its headers are complete, and it is not.
        self.is_in_request = False
        self.is_in_body = False
        # Whether the last answer is given: whatever comes is thrown away.
        self.is_parting = False
        self._answered: RequestResponseCycle | None = None
        # Whether what comes is the rest of a body behind its answer, or all that comes behind the last one.
        self.is_leaving = False
        self._is_told_to_end = False
        self._left_bytes = 0
        self._left_by_s = 0
        self._heard_s = 0
        # What was not taken of the answer, and since when.
        self._unsent_bytes = 0
        self._unsent_since_s = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._answers = _Answers(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.open.forget(self)
        super().connection_lost(exc)
        self._tell_the_request()
        # Nothing may hold the two together: garbage is collected seldom.
        self._answers.close = self.transport.close

    def part(self, problem: Problem | None = None) -> None:
        """Give the last answer, say that there is no other, and throw away what still comes."""
        if self.is_parting or self.transport.is_closing():
            return
        self.is_parting = True
        if problem is not None:
            self.transport.write(self._written(problem))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._tell_the_request()
        self.flow.resume_reading()
        self._leave()

    def is_answering(self) -> bool:
        """Whether a request is under way."""
        return self._answered is not None and not self._answered.response_complete

    def end(self) -> None:
        """Close the connection behind an answer, as soon as that does no harm."""
        if self.is_in_request or self.pipeline:
            self.part()
        else:
            self.transport.close()

    def throws_away(self, data: bytes) -> bool:
        """Whether data that came is of no interest any more; it is counted either way."""
        if self.is_leaving:
            self._heard_s = self.open.now_s
            self._left_bytes += len(data)
            if self._left_bytes > MOST_LEFT_BYTES:
                self.cut()
                return True
        return self.is_parting

    def on_headers_complete(self) -> None:
        """See uvicorn: a request begins."""
        super().on_headers_complete()
        answers = _ExpectedAnswers(self._answers, self.cycle) if self.expect_100_continue else self._answers
        self.cycle.transport = cast(asyncio.Transport, answers)
        self.is_in_body = True
        self.open.is_busy(self)

    def on_message_complete(self) -> None:
        """See uvicorn: a request is received to its end."""
        super().on_message_complete()
        self.is_in_request = self.is_in_body = False
        if self.is_leaving and not self.is_parting:
            self.rest()

    def on_response_complete(self) -> None:
        """See uvicorn, which has a timer for each answer here; `look_after` stands in for it."""
        self.server_state.total_requests += 1
        if self.is_parting or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.is_in_body:
            self._leave()
        else:
            self.rest()

    def rest(self) -> None:
        """Wait for the next request."""
        self.is_leaving = False
        self.open.is_idle(self)

    def cut(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def shutdown(self) -> None:
        """See uvicorn: the worker is told to end."""
        self._is_told_to_end = True
        if not self.is_leaving:
            return super().shutdown()
        self.part()
        self._left_by_s = min(self._left_by_s, self.open.now_s + ENDS_WITHIN_S)

    def look_after(self) -> None:
        """Let go of a caller who has had long enough to send what is left, or to read the answer."""
        now_s = self.open.now_s
        if self.is_leaving and (now_s > self._left_by_s or now_s - self._heard_s > SILENT_S):
            return self.cut()
        unsent_bytes = self.transport.get_write_buffer_size()
        # A closed connection is still there for the rest of its answer: that it is read at all is not enough for it.
        if unsent_bytes == 0 or (unsent_bytes != self._unsent_bytes and not self.transport.is_closing()):
            self._unsent_since_s = now_s
        elif now_s - self._unsent_since_s > (ENDS_WITHIN_S if self._is_told_to_end else UNREAD_S):
            self.cut()
        self._unsent_bytes = unsent_bytes

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _tell_the_request(self) -> None:
        # uvicorn tells the latest one; of several, another may be under way.
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()

    def _leave(self) -> None:
        if not self.is_leaving:
            self.is_leaving, self._left_bytes = True, 0
            self._heard_s = self.open.now_s
            self._left_by_s = self._heard_s + (ENDS_WITHIN_S if self._is_told_to_end else LEFT_WITHIN_S)
            self.open.is_leaving(self)

    def _written(self, problem: Problem) -> bytes:
        shown = request_id.new()
        response = problem.response(shown)
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            *security_headers.OF_DATA,
            (b"x-request-id", shown.encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)


class _Answers:
    """What a request's answer is written to: the connection, which is not closed while its caller still sends."""

    def __init__(self, protocol: PartingProtocol) -> None:
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.end


class _ExpectedAnswers:
    """The same for a caller who waits for leave to send its body (`Expect: 100-continue`).

    Where it never gets leave, nobody can tell whether the body comes: the connection can serve no other request.
    """

    def __init__(self, answers: _Answers, cycle: RequestResponseCycle) -> None:
        self._answers = answers
        self._cycle = cycle
        self._keeps_alive = cycle.keep_alive
        self.is_closing = answers.is_closing
        self.close = answers.close
        cycle.keep_alive = False

    def write(self, data: bytes) -> None:
        if data == _LEAVE_TO_SEND:
            self._cycle.keep_alive = self._keeps_alive
        self._cycle.transport = cast(asyncio.Transport, self._answers)
        self._answers.write(data)
