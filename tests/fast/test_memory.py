"""Memory that large uploads, large images and a start have used is soon returned to the system."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from unittest import mock

import psutil
import pytest
from numpy import uint8
from numpy.typing import NDArray

from api.body_limits import LARGE_BYTES, MANY_BYTES
from inference.classifier import Classifier
from runtime import memory
from runtime.memory import return_freed_memory
from testing.colour_model import PREPARED, ColourRunner, image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from testing.shipped_wiring import settings_of
from testing.waiting import wait_until

AFTER_S = 0.2
BLOCKS, BLOCK_BYTES = 2000, 60_000
RETURNED_MB, KEPT_MB = 40, 80

PATHS = {"application/json": "/v1/classify", "image/png": "/v2/classify"}
BODY = json.dumps({"image": as_base64(image_of("green"))}).encode()


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with mock.patch.object(memory, "AFTER_S", AFTER_S):
        yield


class Leftover:
    """120 MB in small blocks that were used and freed."""

    def __init__(self) -> None:
        # What other tests have freed would be used again, and nothing would be added.
        return_freed_memory()
        self._before = self._rss()
        blocks = [bytearray(BLOCK_BYTES) for _ in range(BLOCKS)]
        # The last stays: the allocator by itself gives back only what lies behind everything that is in use.
        self._last = blocks.pop()

    def assert_kept(self) -> None:
        assert self.kept_mb() > KEPT_MB

    def kept_mb(self) -> float:
        return (self._rss() - self._before) / 1e6

    def is_returned(self) -> bool:
        return self.kept_mb() < RETURNED_MB

    def _rss(self) -> int:
        return int(psutil.Process().memory_info().rss)


async def classify(gateway: InProcessGateway, key: IssuedKey, body: bytes, kind: str) -> None:
    answer = await gateway.request("POST", PATHS[kind], key, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text


LARGE = [
    pytest.param(BODY.ljust(LARGE_BYTES), "application/json", id="body"),
    pytest.param(image_of("green", size=(1000, 1000)), "image/png", id="image-in-a-small-file"),
    pytest.param(image_of("green", size=(5000, 1000)), "image/png", id="image-that-has-threads-of-its-own"),
]
SMALL = [
    pytest.param(BODY.ljust(LARGE_BYTES - 1), "application/json", id="body"),
    pytest.param(image_of("green", size=(999, 1000)), "image/png", id="image"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("body", "kind"), LARGE)
async def test_what_a_large_request_needed_is_returned(
    gateway: InProcessGateway, key: IssuedKey, body: bytes, kind: str
) -> None:
    left = Leftover()
    left.assert_kept()
    await classify(gateway, key, body, kind)
    wait_until(left.is_returned, "the memory is returned")


@pytest.mark.anyio
async def test_what_many_small_bodies_needed_at_once_is_returned(gateway: InProcessGateway, key: IssuedKey) -> None:
    left = Leftover()
    left.assert_kept()
    body = BODY.ljust(LARGE_BYTES - 1)
    together = range(MANY_BYTES // len(body) + 1)
    await asyncio.gather(*(classify(gateway, key, body, "application/json") for _ in together))
    wait_until(left.is_returned, "the memory is returned")


@pytest.mark.anyio
@pytest.mark.parametrize(("body", "kind"), SMALL)
async def test_a_small_request_is_not_worth_the_time(
    gateway: InProcessGateway, key: IssuedKey, body: bytes, kind: str
) -> None:
    left = Leftover()
    left.assert_kept()
    await classify(gateway, key, body, kind)
    time.sleep(AFTER_S + 0.3)
    left.assert_kept()
    await classify(gateway, key, BODY.ljust(LARGE_BYTES), "application/json")
    wait_until(left.is_returned, "the memory is returned, for the next test")


@pytest.mark.anyio
async def test_an_image_is_answered_although_no_thread_can_start(gateway: InProcessGateway, key: IssuedKey) -> None:
    left = Leftover()
    with mock.patch.object(threading.Timer, "start", side_effect=RuntimeError("can't start new thread")):
        await classify(gateway, key, image_of("green", size=(1000, 1000)), "image/png")
    await classify(gateway, key, image_of("green", size=(1000, 1000)), "image/png")
    wait_until(left.is_returned, "a later one returns the memory")


class WastefulRunner(ColourRunner):
    """A runner that needs 120 MB while it warms up, as an engine that compiles a model may."""

    async def warm_up(self, blank: NDArray[uint8]) -> None:
        self.left = Leftover()
        await super().warm_up(blank)


def test_what_a_warm_up_needed_is_returned() -> None:
    async def warmed_up() -> float:
        classifier = Classifier(runner := WastefulRunner(), PREPARED, settings_of())
        await classifier.warm_up()
        classifier.close()
        return runner.left.kept_mb()

    assert asyncio.run(warmed_up()) < RETURNED_MB
