"""Sends load to a server: in a closed loop, where each caller waits for its answer, or in an open loop.

In the open loop, requests are sent at the times of a Poisson process and do not wait for answers. Latency counts from
the time at which a request was due, as in MLPerf's server scenario: a server that stalls can't hide that by making the
callers wait.
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
# The share of the time of sending that `rate` leaves out, at its beginning and at its end.
EDGE = 0.1


@dataclass(frozen=True, slots=True)
class Request:
    """A POST request: path, content type and body."""

    path: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one request.

    Attributes:
        due: when it was due, monotonic seconds.
        answered: when it was answered, or given up, monotonic seconds.
        status: the status of the answer; None without an answer.
        retry_after_s: the seconds of the answer's `Retry-After`, if it has one.
    """

    due: float
    answered: float
    status: int | None
    retry_after_s: int | None = None

    @property
    def ms(self) -> float:
        """The latency: from the time it was due to its answer, ms."""
        return (self.answered - self.due) * 1000


def json_photos(size: tuple[int, int] = (500, 375), number: int = 8) -> list[Request]:
    """Return requests of v1; each has a JPEG file of that size (width, height)."""
    return [
        Request("/v1/classify", JSON, json.dumps({"image": as_base64(data)}).encode()) for data in photos(size, number)
    ]


def photos(size: tuple[int, int], number: int) -> list[bytes]:
    """Return JPEG files of photographs, resized to that size (width, height)."""
    return [encoded(image.resize(size), "JPEG", quality=90) for image in crops(number)]


def closed_loop(url: str, key: str, requests: Sequence[Request], callers: int, seconds: float) -> list[Sample]:
    """Run concurrent callers for some seconds; each sends its next request once it has the answer to the last."""

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
    """Send requests at random times, `per_second` on average, without waiting for earlier answers."""

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
    """Return the 200 answers per second in the middle of the time in which requests were sent.

    At the beginning no caller has an answer yet, and after the last request fewer and fewer callers wait for one. If no
    answer falls into the middle, the rate is that from the first request to the last answer.
    """
    dues, answered = [sample.due for sample in samples], [one.answered for one in samples if one.status == 200]
    edge_s = EDGE * (max(dues) - min(dues))
    begins, ends = min(dues) + edge_s, max(dues) - edge_s
    in_the_middle = sum(begins < at <= ends for at in answered)
    if in_the_middle:
        return in_the_middle / (ends - begins)
    return len(answered) / (max(sample.answered for sample in samples) - min(dues))


def goodput(samples: Sequence[Sample], seconds: float) -> float:
    """Return the 200 answers per second in the time in which an open loop of `seconds` sent requests."""
    ends = min(sample.due for sample in samples) + seconds
    return sum(sample.status == 200 and sample.answered <= ends for sample in samples) / seconds


def _run(load: Coroutine[Any, Any, list[Sample]]) -> list[Sample]:
    # A garbage collection in the callers' process would count as latency of the server.
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
    """Yield a function of a request's number and due time, which sends that request and waits for its answer."""
    connections = Connections(url, key)
    encoded_requests = [connections.written(request.path, request.content_type, request.body) for request in requests]

    async def send(number: int, due: float) -> Sample:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await connections.ask(encoded_requests[number % len(encoded_requests)])
        except OSError:
            # Without this pause, callers that can't connect would use the whole processor.
            await asyncio.sleep(RETRY_DELAY_S)
            return Sample(due, time.monotonic(), None)
        return Sample(due, time.monotonic(), answer.status, answer.retry_after_s)

    try:
        yield send
    finally:
        connections.close()
