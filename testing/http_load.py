"""Callers for the benchmarks: a closed loop, in which each awaits its answer, and an open one, which waits for nobody.

The open loop's arrivals are Poisson, and latency counts from the time a request was due, as in MLPerf's server
scenario: a server that stalls can't hide it by holding the callers up.
"""

import asyncio
import gc
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvloop

from testing.http_connections import Connections
from testing.photographs import as_base64, crops, encoded

JSON = "application/json"
TIMEOUT_S = 60
RETRY_DELAY_S = 0.02


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: path, content type and body, ready for the wire."""

    path: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: when it was due and answered, on the monotonic clock, seconds, and its status (None: no answer)."""

    due: float
    answered: float
    status: int | None
    retry_after_s: int | None = None

    @property
    def ms(self) -> float:
        """From the time it was due to its answer, in milliseconds."""
        return (self.answered - self.due) * 1000


def json_photos(size: tuple[int, int] = (500, 375), number: int = 8) -> list[Request]:
    """Requests of v1 with a JPEG of that size each."""
    return [
        Request("/v1/classify", JSON, json.dumps({"image": as_base64(data)}).encode()) for data in photos(size, number)
    ]


def photos(size: tuple[int, int], number: int) -> list[bytes]:
    """JPEG files of photographs of that size."""
    return [encoded(image.resize(size), "JPEG", quality=90) for image in crops(number)]


def closed_loop(url: str, key: str, requests: Sequence[Request], callers: int, seconds: float) -> list[Sample]:
    """Let so many callers send one request after another, for so long."""

    async def run() -> list[Sample]:
        samples: list[Sample] = []
        ends = time.monotonic() + seconds
        async with _sender(url, key, requests) as send:

            async def call(number: int) -> None:
                while (now := time.monotonic()) < ends:
                    samples.append(await send(number, now))
                    number += callers

            await asyncio.gather(*(call(number) for number in range(callers)))
        return samples

    return _run(run())


def open_loop(url: str, key: str, requests: Sequence[Request], per_second: float, seconds: float) -> list[Sample]:
    """Send so many requests a second, at random times, whatever becomes of those before."""

    async def run() -> list[Sample]:
        chance = random.Random(0)
        tasks: list[asyncio.Task[Sample]] = []
        due = began = time.monotonic()
        async with _sender(url, key, requests) as send:
            while due < began + seconds:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                tasks.append(asyncio.create_task(send(len(tasks), due)))
                due += chance.expovariate(per_second)
            return await asyncio.gather(*tasks)

    return _run(run())


def rate(samples: Sequence[Sample]) -> float:
    """Answers of 200 a second, from the first request to the last answer."""
    took_s = max(sample.answered for sample in samples) - min(sample.due for sample in samples)
    return sum(sample.status == 200 for sample in samples) / took_s


def goodput(samples: Sequence[Sample], seconds: float) -> float:
    """Answers of 200 a second while requests were sent, in an open loop of so many seconds."""
    ends = min(sample.due for sample in samples) + seconds
    return sum(sample.status == 200 and sample.answered <= ends for sample in samples) / seconds


def _run(load: Coroutine[Any, Any, list[Sample]]) -> list[Sample]:
    # A pause of the callers, to collect what lies about in their own process, is no latency of the server.
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(load)
    finally:
        gc.enable()


@asynccontextmanager
async def _sender(
    url: str, key: str, requests: Sequence[Request]
) -> AsyncIterator[Callable[[int, float], Coroutine[Any, Any, Sample]]]:
    """What sends the request of a number, due at a time, and awaits its answer."""
    connections = Connections(url, key)
    wires = [connections.written(request.path, request.content_type, request.body) for request in requests]

    async def send(number: int, due: float) -> Sample:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await connections.ask(wires[number % len(wires)])
        except OSError:
            # Who finds no server does not ask again at once.
            await asyncio.sleep(RETRY_DELAY_S)
            return Sample(due, time.monotonic(), None)
        return Sample(due, time.monotonic(), answer.status, answer.retry_after_s)

    try:
        yield send
    finally:
        connections.close()
