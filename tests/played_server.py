"""A server that the test plays for the client, behind httpx, and a time that moves only when the client waits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import classifier_client as cc
import httpx
import pytest
from classifier_client import AsyncClient, Client, Pace

KEY = "imc_0123456789AB_0123456789ABCDEFGHIJKLMNOPQRSTUV"
MODEL = {"name": "m", "revision": "1", "engine": "openvino", "precision": "f32"}
ENTRY = {
    "predictions": [{"label": "cup", "class_id": 7, "confidence": 0.9}],
    "image": {"width": 2, "height": 3, "format": "PNG"},
}
RESULT = {"id": "req_1", "model": MODEL, **ENTRY}


def problem(status: int, retry_after: int | None = None, **more: Any) -> httpx.Response:
    headers = {"X-Request-ID": "req_9", **({"Retry-After": str(retry_after)} if retry_after is not None else {})}
    body = {"type": "about:blank", "title": "No", "status": status, "detail": f"Do better than {status}.", **more}
    return httpx.Response(status, json={**body, "request_id": "req_9"}, headers=headers)


@dataclass
class World:
    """The server, and the time."""

    answers: list[httpx.Response | Exception]
    now_s: float = 0.0
    waits: list[float] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    part: float = 0.5

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self.answers.pop(0) if self.answers else httpx.Response(200, json=RESULT)
        if isinstance(found, Exception):
            raise found
        if not isinstance(found.stream, httpx.ByteStream):
            return found
        # An answer can be read once, and some are parameters of several tests.
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def options(self) -> dict[str, Any]:
        return {
            "transport": httpx.MockTransport(self.answer),
            "pace": Pace(lambda: self.now_s, self.sleep, self.sleep_async, lambda: self.part),
        }

    def client(self, **options: Any) -> Client:
        return Client("http://server", KEY, **self.options(), **options)


async def classify_async(world: World, **options: Any) -> cc.Classification:
    async with AsyncClient("http://server", KEY, **world.options(), **options) as client:
        return await client.classify(b"image")


def classify_sync(world: World, **options: Any) -> cc.Classification:
    with world.client(**options) as client:
        return client.classify(b"image")


@pytest.fixture(params=["sync", "async"])
def classify(request: pytest.FixtureRequest) -> Iterator[Callable[..., cc.Classification]]:
    """Both clients do the same: each test that takes this runs with each of them."""
    if request.param == "sync":
        yield classify_sync
        return
    import asyncio

    with asyncio.Runner() as runner:
        yield lambda world, **options: runner.run(classify_async(world, **options))


Classify = Callable[..., cc.Classification]
