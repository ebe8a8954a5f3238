"""What large uploads and a start leave behind: memory that they needed is the system's again soon after them."""

import asyncio

import psutil
from numpy import uint8
from numpy.typing import NDArray

from inference.classifier import Classifier
from runtime.memory import AFTER_S, LARGE_BYTES, FreedMemory
from testing.colour_model import PREPARED, ColourRunner
from testing.shipped_wiring import settings_of
from testing.waiting import eventually

BLOCKS, BLOCK_BYTES = 2000, 60_000
GIVEN_BACK_MB = 40


def rss_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def kept_mb(body_bytes: int) -> float:
    """What is kept of 120 MB in small blocks, once a request with such a body is over."""

    async def use_and_end() -> float:
        before_mb = rss_mb()
        blocks = [bytearray(BLOCK_BYTES) for _ in range(BLOCKS)]
        # The last stays: the allocator by itself gives back only what lies behind everything that is in use.
        last = blocks.pop()
        blocks.clear()
        FreedMemory().note(body_bytes)
        await asyncio.sleep(AFTER_S + 0.5)
        if body_bytes >= LARGE_BYTES:
            # A thread gives it back, when it gets to run.
            await eventually(lambda: rss_mb() - before_mb < GIVEN_BACK_MB, "the memory is given back", patience_s=30)
        assert len(last) == BLOCK_BYTES
        return rss_mb() - before_mb

    return asyncio.run(use_and_end())


def test_what_a_large_body_needed_is_given_back() -> None:
    assert kept_mb(LARGE_BYTES) < GIVEN_BACK_MB


def test_a_small_body_is_not_worth_the_look() -> None:
    assert kept_mb(LARGE_BYTES - 1) > 80
    kept_mb(LARGE_BYTES)


class WastefulRunner(ColourRunner):
    """A runner that needs 120 MB while it warms up, as an engine that compiles a model may."""

    async def warm_up(self, blank: NDArray[uint8]) -> None:
        blocks = [bytearray(BLOCK_BYTES) for _ in range(BLOCKS)]
        # In use for as long as the runner, behind all that is freed.
        self.kept = blocks.pop()
        await super().warm_up(blank)


def test_what_a_warm_up_needed_is_given_back() -> None:
    async def warmed_up() -> float:
        classifier = Classifier(runner := WastefulRunner(), PREPARED, settings_of())
        before_mb = rss_mb()
        await classifier.warm_up()
        classifier.close()
        assert len(runner.kept) == BLOCK_BYTES
        return rss_mb() - before_mb

    assert asyncio.run(warmed_up()) < GIVEN_BACK_MB
