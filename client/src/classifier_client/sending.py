"""Does what the core says: sends requests with httpx, and waits between them. Once for threads, once for asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event
from typing import TypeVar, cast

import httpx

from classifier_client.calls import Call
from classifier_client.core import Answer, Core, Failure, Reply, Send, Sleep, failure, late
from classifier_client.errors import ConnectionFailed, MissingPackage
from classifier_client.many import wait

T = TypeVar("T")


class Sender:
    """Performs calls. Several threads may share it.

    Args:
        core: decides what is sent, and when.
        transport: sends the requests; None: httpx does.
    """

    def __init__(self, core: Core, transport: httpx.BaseTransport | None) -> None:
        self._core = core
        with _errors_of_environment():
            self._http = httpx.Client(transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, call: Call[T], stopped: Event | None = None) -> T:
        """Perform a call, and return its result.

        Raises:
            ClassifierError: the server refuses the call, or can't be reached.
            Stopped: the event came while this waited.
        """
        result, response = self._perform(call, stopped)
        assert response is None
        return result

    def open(self, call: Call[None]) -> httpx.Response:
        """Perform a streamed call, and return the answer, whose body is yet unread."""
        _, response = self._perform(call)
        assert response is not None
        return response

    def _perform(self, call: Call[T], stopped: Event | None = None) -> tuple[T, httpx.Response | None]:
        """Do what the core says; return the result, and for a streamed call the answer, whose body is yet unread."""
        steps, reply, response = self._core.perform(call), None, None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as done:
                return cast(T, done.value), response
            if isinstance(step, Sleep):
                wait(self._core.pace, step.seconds, stopped)
                reply = None
            else:
                reply, response = self._send(step)

    def _send(self, step: Send) -> tuple[Reply, httpx.Response | None]:
        try:
            response = self._http.send(step.request, stream=True)
            if step.is_streamed and response.is_success:
                return Answer(response.status_code, response.headers, b""), response
            body = bytearray()
            with closing(response):
                for chunk in response.iter_bytes():
                    body += chunk
                    if self._core.pace.now() > step.ends_at:
                        return Failure(late(), is_unsent=False), None
            return Answer(response.status_code, response.headers, bytes(body)), None
        except (httpx.TransportError, httpx.DecodingError) as error:
            return failure(error, self._core.url), None


class AsyncSender:
    """Performs calls from asyncio: see `Sender`."""

    def __init__(self, core: Core, transport: httpx.AsyncBaseTransport | None) -> None:
        self._core = core
        with _errors_of_environment():
            self._http = httpx.AsyncClient(transport=transport)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, call: Call[T]) -> T:
        """Perform a call, and return its result."""
        result, response = await self._perform(call)
        assert response is None
        return result

    async def open(self, call: Call[None]) -> httpx.Response:
        _, response = await self._perform(call)
        assert response is not None
        return response

    async def _perform(self, call: Call[T]) -> tuple[T, httpx.Response | None]:
        """Do what the core says; return the result, and for a streamed call the answer, whose body is yet unread."""
        steps, reply, response = self._core.perform(call), None, None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as done:
                return cast(T, done.value), response
            if isinstance(step, Sleep):
                await self._core.pace.sleep_async(step.seconds)
                reply = None
            else:
                reply, response = await self._send(step)

    async def _send(self, step: Send) -> tuple[Reply, httpx.Response | None]:
        try:
            response = await self._http.send(step.request, stream=True)
            if step.is_streamed and response.is_success:
                return Answer(response.status_code, response.headers, b""), response
            body = bytearray()
            try:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if self._core.pace.now() > step.ends_at:
                        return Failure(late(), is_unsent=False), None
            finally:
                await response.aclose()
            return Answer(response.status_code, response.headers, bytes(body)), None
        except (httpx.TransportError, httpx.DecodingError) as error:
            return failure(error, self._core.url), None


@contextmanager
def _errors_of_environment() -> Iterator[None]:
    """Turn errors about the proxies and certificates that the environment names into those of this package."""
    try:
        yield
    except ImportError:
        raise MissingPackage("A SOCKS proxy needs the package socksio: pip install 'httpx[socks]'.") from None
    except (OSError, ValueError, httpx.InvalidURL):
        raise ConnectionFailed(
            "The proxy or the certificates that the environment names can't be used; "
            "correct HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE or SSL_CERT_DIR."
        ) from None
