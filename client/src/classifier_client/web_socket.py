"""Sends images over the WebSocket `/v2/stream`, a few ahead of the answers, which come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from classifier_client import core as core_module
from classifier_client.core import Core
from classifier_client.errors import ClassifierError, ConnectionFailed, MissingPackage, from_answer
from classifier_client.images import ImageInput, image_bytes
from classifier_client.results import Outcome
from classifier_client.streams import stream_answer

S = TypeVar("S", bound=ImageInput)

# An answer is a small JSON document; no server needs more.
_MOST_BYTES = 1 << 20
# The least number of answers that the queue of a WebSocket holds.
_LEAST_QUEUE = 16


def stream(core: Core, images: Iterable[S], params: Mapping[str, str], ahead: int) -> Iterator[Outcome[S]]:
    """Return the outcome of each image, in order.

    Args:
        core: the server.
        images: the images; each is taken when it is its turn to be sent.
        params: the query, which says how to answer.
        ahead: how many images may be under way.

    Raises:
        ClassifierError: the server refuses the stream, or it ended before the last answer.
    """
    with _errors(core.url):
        from websockets.sync.client import connect

        socket = connect(_address(core.url, params), **_options(core, ahead))
    waiting: deque[Outcome[S]] = deque()

    def outcome() -> Outcome[S]:
        first = waiting.popleft()
        if first.error is not None:
            return first
        with _errors(core.url):
            return _outcome(first.source, socket.recv(core.time_limits.read))

    with socket:
        for image in images:
            encoded, unanswered = _read(image)
            waiting.append(unanswered)
            try:
                if encoded:
                    with _errors(core.url):
                        socket.send(encoded)
            except ConnectionFailed:
                # Answers that have arrived are still there. The first that has not raises the error again.
                break
            if len(waiting) >= ahead:
                yield outcome()
        while waiting:
            yield outcome()


async def stream_async(
    core: Core, images: Iterable[S] | AsyncIterable[S], params: Mapping[str, str], ahead: int
) -> AsyncIterator[Outcome[S]]:
    """Classify images on one connection, as `stream` does, with asyncio."""
    import asyncio

    with _errors(core.url):
        from websockets.asyncio.client import connect

        socket = await connect(_address(core.url, params), **_options(core, ahead))

    waiting: deque[Outcome[S]] = deque()

    async def outcome() -> Outcome[S]:
        first = waiting.popleft()
        if first.error is not None:
            return first
        with _errors(core.url):
            return _outcome(first.source, await asyncio.wait_for(socket.recv(), core.time_limits.read))

    async with socket:
        async for image in _iterated(images):
            encoded, unanswered = await asyncio.to_thread(_read, image)
            waiting.append(unanswered)
            try:
                if encoded:
                    with _errors(core.url):
                        await socket.send(encoded)
            except ConnectionFailed:
                # Answers that have arrived are still there. The first that has not raises the error again.
                break
            if len(waiting) >= ahead:
                yield await outcome()
        while waiting:
            yield await outcome()


def _address(url: str, params: Mapping[str, str]) -> str:
    parsed = httpx.URL(url + "/v2/stream", params=dict(params))
    return str(parsed.copy_with(scheme="wss" if parsed.scheme == "https" else "ws"))


def _options(core: Core, ahead: int) -> dict[str, Any]:
    return {
        # Holds all answers that may come while images are sent: otherwise each side would wait for the other.
        "max_queue": max(_LEAST_QUEUE, ahead),
        "additional_headers": {"Authorization": core.headers["Authorization"]},
        "user_agent_header": core.headers["User-Agent"],
        "open_timeout": core.time_limits.connect,
        "max_size": _MOST_BYTES,
    }


def _read(image: S) -> tuple[bytes, Outcome[S]]:
    """Return the image as the bytes of a file, and an empty outcome; no bytes, and the error, if it can't be read."""
    try:
        return image_bytes(image), Outcome(image)
    except (ClassifierError, OSError) as error:
        return b"", Outcome(image, error=error)


def _outcome(image: S, message: str | bytes) -> Outcome[S]:
    answer = stream_answer(message)
    return Outcome(image, error=answer) if isinstance(answer, ClassifierError) else Outcome(image, answer)


async def _iterated(images: Iterable[S] | AsyncIterable[S]) -> AsyncIterator[S]:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
    else:
        for image in images:
            yield image


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """Turn the errors of websockets into those of this package."""
    try:
        import websockets.exceptions
    except ImportError:
        raise MissingPackage("Streams need the extra stream: pip install './client[stream]'.") from None
    import asyncio

    try:
        yield
    except websockets.exceptions.InvalidStatus as refused:
        answer = refused.response
        headers = {name.lower(): value for name, value in answer.headers.raw_items()}
        raise from_answer(answer.status_code, headers, bytes(answer.body or b"")) from None
    except websockets.exceptions.ConnectionClosed as closed:
        why = (closed.rcvd and closed.rcvd.reason) or "Open it again."
        raise ConnectionFailed(f"The stream ended before all images were answered. {why}") from None
    # In Python 3.10 they are three classes.
    except (TimeoutError, asyncio.TimeoutError):
        raise core_module.late() from None
    except ImportError:
        raise MissingPackage("A SOCKS proxy needs the package python-socks: pip install python-socks.") from None
    except (OSError, websockets.exceptions.WebSocketException, EOFError) as error:
        raise core_module.unreachable(error, url) from None
