"""Requests as bytes: what HTTP libraries would mend, or refuse to send, goes over the wire as it is written."""

import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from testing.waiting import PATIENCE_S


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    """By lower-case name."""
    content: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The body, which must be a problem."""
        assert self.headers["content-type"] == "application/problem+json"
        return dict(json.loads(self.content))


class Wire:
    """A caller with a connection, which is kept as long as the server keeps it.

    Args:
        port: where the server listens, on this machine.
        key: the caller's key.
    """

    def __init__(self, port: int, key: str | None = None) -> None:
        self._port = port
        self._headers = f"Host: server\r\nAuthorization: Bearer {key}\r\n" if key else "Host: server\r\n"
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def ask(self, method: str, target: bytes, body: Any = None) -> Answer:
        """Send one request, with a JSON body where there is one, and read its answer."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{self._headers}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        request = method.encode() + b" " + target + b" HTTP/1.1\r\n" + head.encode() + content
        try:
            return self._exchange(method, request)
        except ConnectionError:
            # The server closes a connection that nothing was asked of for some seconds.
            self.close()
            return self._exchange(method, request)

    def _exchange(self, method: str, request: bytes) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, content = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        # What a server says that sends its answers whole; this one does.
        length = 0 if method == "HEAD" else int(headers["content-length"])
        while len(content) < length:
            content += self._receive()
        assert len(content) == length
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(status.split()[1]), headers, content)

    def _receive(self) -> bytes:
        assert self._socket is not None
        received = self._socket.recv(1 << 16)
        if not received:
            raise ConnectionError("the server closed the connection")
        return received


def read_answers(connection: socket.socket) -> list[httpx.Response]:
    """All answers that come before the server closes the connection; each says how long its body is."""
    received = b""
    while piece := connection.recv(1 << 16):
        received += piece
    answers = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 "), head
        assert end, "an answer is cut off"
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = httpx.Headers([(name, value.strip()) for name, _, value in (field.partition(":") for field in lines)])
        length = int(headers["content-length"])
        answers.append(httpx.Response(int(line.split()[1]), headers=headers, content=received[:length]))
        received = received[length:]
    return answers
