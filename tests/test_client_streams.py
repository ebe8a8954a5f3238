"""The client's WebSocket stream against a server that the test plays with the same library."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from threading import Thread

import classifier_client as cc
import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.played_server import KEY, RESULT

# In this time a client notices that its stream was closed.
NOTICED_S = 0.1
PROBLEM = {"type": "about:blank", "title": "No", "detail": "Wait.", "request_id": "req_9"}


def answer(socket: ServerConnection) -> None:
    """Answers as `/v2/stream` does: an image that begins with a digit fails with the status that it names."""
    for message in socket:
        assert isinstance(message, bytes)
        if message == b"end":
            return socket.close(1012, "The server restarts.")
        status = int(message) if message.isdigit() else 200
        document = RESULT if status == 200 else {**PROBLEM, "status": status, "retry_after": 3}
        socket.send(json.dumps(document))
    return None


def admit(socket: ServerConnection, request: Request) -> Response | None:
    assert request.path == "/v2/stream?top_k=2"
    if request.headers["Authorization"] == f"Bearer {KEY}":
        return None
    headers = Headers({"Content-Type": "application/problem+json", "Content-Length": "41"})
    return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", headers, b'{"detail": "Send a key.", "request_id":1}')


@contextmanager
def streaming() -> Iterator[str]:
    with serve(answer, "127.0.0.1", 0, process_request=admit) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def test_each_image_of_a_stream_has_its_outcome_in_order() -> None:
    images = [b"a", b"429", b"b", b"400", b"c"]
    with streaming() as url, cc.Client(url, KEY) as client:
        outcomes = list(client.stream(images, top_k=2, ahead=2))
        assert [outcome.source for outcome in outcomes] == images
        assert [outcome.result.label if outcome.result else None for outcome in outcomes] == [
            "cup", None, "cup", None, "cup"
        ]  # fmt: skip
        limited = outcomes[1].error
        assert isinstance(limited, cc.LimitReached)
        assert (limited.retry_after, limited.request_id) == (3, "req_9")

        async def streamed() -> list[cc.Outcome[bytes]]:
            async with cc.AsyncClient(url, KEY) as client:
                return [outcome async for outcome in client.stream(images, top_k=2)]

        assert [outcome.result for outcome in asyncio.run(streamed())] == [outcome.result for outcome in outcomes]


def test_an_image_that_can_not_be_read_ends_no_stream() -> None:
    """Those that were sent before are answered, and paid."""
    images: list[cc.ImageInput] = [b"a", "no-such.jpg", b"b", b"", b"429"]
    with streaming() as url:
        with cc.Client(url, KEY) as client:
            outcomes = list(client.stream(images, top_k=2))

        async def streamed() -> list[cc.Outcome[cc.ImageInput]]:
            async with cc.AsyncClient(url, KEY) as client:
                return [outcome async for outcome in client.stream(images, top_k=2, ahead=2)]

        for found in (outcomes, asyncio.run(streamed())):
            assert [outcome.source for outcome in found] == images
            assert [outcome.result.label if outcome.result else type(outcome.error) for outcome in found] == [
                "cup", FileNotFoundError, "cup", cc.InvalidImage, cc.LimitReached
            ]  # fmt: skip


def test_answers_that_came_before_the_end_of_a_stream_are_not_lost() -> None:
    """The end is noticed when the last image is sent; nobody has looked at the answers until then."""
    first, last = (b"a", b"b", b"end"), b"c"

    def images() -> Iterator[bytes]:
        yield from first
        time.sleep(NOTICED_S)
        yield last

    async def images_async() -> AsyncIterator[bytes]:
        for image in first:
            yield image
        await asyncio.sleep(NOTICED_S)
        yield last

    with streaming() as url:
        with cc.Client(url, KEY) as client:
            outcomes = client.stream(images(), top_k=2)
            assert [next(outcomes).source, next(outcomes).source] == [b"a", b"b"]
            with pytest.raises(cc.ConnectionFailed, match="The server restarts"):
                next(outcomes)

        async def streamed() -> None:
            async with cc.AsyncClient(url, KEY) as client:
                outcomes = client.stream(images_async(), top_k=2)
                assert [(await anext(outcomes)).source, (await anext(outcomes)).source] == [b"a", b"b"]
                with pytest.raises(cc.ConnectionFailed, match="The server restarts"):
                    await anext(outcomes)

        asyncio.run(streamed())


def test_a_stream_that_is_refused_or_ends_is_an_error_of_this_package() -> None:
    with streaming() as url:
        with cc.Client(url, "imc_other") as client, pytest.raises(cc.AuthenticationError, match="Send a key"):
            list(client.stream([b"a"], top_k=2))
        with cc.Client(url, KEY) as client, pytest.raises(cc.ConnectionFailed, match="ended before"):
            list(client.stream([b"a", b"end", b"b"], top_k=2))
    with cc.Client(url, KEY) as client, pytest.raises(cc.ConnectionFailed, match="can't be reached"):
        list(client.stream([b"a"], top_k=2))
