"""Decodes images beside the event loop: small ones in threads, large ones in threads that step back, others isolated.

How much work an image is, its headers say (see `formats/`). What an ordinary program wrote takes a thread a third of a
second at most. Anything else has a process of its own, which can be stopped (see `isolation.py`). Users take turns.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from inference.fair_queue import FairSlots
from inference.isolation import Isolation
from model.errors import ImageError, TooCostly
from model.images.decode import Decoded, decode_file
from model.images.formats import read_header
from model.images.formats.header import Header
from model.recipe import Recipe
from runtime.machine import cores, memory_bytes
from runtime.processes import lower_priority

# Work, in pixels of a baseline JPEG: what a thread is kept busy with for some 20 ms, and for some 200 ms.
QUICK_WORK, LARGE_WORK = 2_000_000, 16_000_000
# What the images of one request may take together, beyond the first: as much as the largest image by itself.
WORK_TOGETHER = 50_000_000
# Seconds of processor time that decoding may take in one request, less what the model takes for each image after it.
CPU_S, CPU_OF_EACH_S = 1.35, 0.01
LEAST_CPU_S = 0.05
QUICK_NICE, LARGE_NICE = 5, 15
# Memory for each file that is decoded in a process of its own: what it may take at most, and as much to spare.
ISOLATED_BYTES = 1024**3

# Gives the file; what it raises is the image's result.
Source = Callable[[], bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one image, and the milliseconds that its decoder was busy with it."""

    result: Decoded | Exception
    busy_ms: float


class Decoders:
    """Every decoder of one gateway worker.

    Args:
        recipe: how the model takes images.
        max_pixels: the most that an image may have.
        threads: how many decode at a time.
    """

    def __init__(self, recipe: Recipe, max_pixels: int, threads: int) -> None:
        self.threads = threads
        self._recipe = recipe
        self._max_pixels = max_pixels
        # Each thread finds its next image ready, so that none waits for the event loop.
        self._quick = _Lane("decode", threads, 2 * threads, QUICK_NICE)
        self._large = _Lane("decode-large", threads, threads, LARGE_NICE)
        self._isolation = Isolation(recipe, max_pixels)
        self._isolated = FairSlots(max(1, min(cores(), memory_bytes() // (2 * ISOLATED_BYTES))))

    def start(self) -> None:
        """Start what takes a moment to start."""
        self._isolation.start()

    def close(self) -> None:
        """End what is under way."""
        self._isolation.close()

    async def decode(self, user: str, source: Source, exact: bool) -> Done:
        """Decode one image; cancelled, it stops within a third of a second."""
        result, busy_ms = await self._quick.run(user, self._look, source, exact, QUICK_WORK)
        if not isinstance(result, Header):
            return Done(result, busy_ms)
        return await self._decode(user, result, exact, CPU_S)

    async def decode_all(self, user: str, sources: Sequence[Source], exact: bool) -> list[Done]:
        """Decode several images of one request; where they would cost too much together, the largest are refused.

        Ordinary images come first, so that none of them pays for a neighbour that is out of the ordinary.
        """
        done: list[Done | None] = [None] * len(sources)
        looked = await self._quick.run(user, self._look_at_all, sources)
        ordinary: list[tuple[int, Header]] = []
        others: list[tuple[int, Header]] = []
        for number, (header, busy_ms) in enumerate(looked):
            if not isinstance(header, Header):
                done[number] = Done(header, busy_ms)
            else:
                (ordinary if _is_ordinary(header) else others).append((number, header))
        # The smallest first: one that is large spoils none of its neighbours.
        ordinary.sort(key=lambda one: one[1].work)
        work = 0.0
        for place, (number, header) in enumerate(ordinary):
            work += header.work
            if place and work > WORK_TOGETHER:
                done[number] = Done(_too_much_together(), 0.0)
        ordinary = [(number, header) for number, header in ordinary if done[number] is None]
        left_s = CPU_S - CPU_OF_EACH_S * len(sources)
        decoding = [self._decode(user, header, exact, left_s) for _, header in ordinary]
        for (number, _), one_done in zip(ordinary, await asyncio.gather(*decoding), strict=True):
            done[number] = one_done
            left_s -= one_done.busy_ms / 1000
        for number, header in others:
            if left_s < LEAST_CPU_S:
                done[number] = Done(_too_much_together(), 0.0)
            else:
                done[number] = one_done = await self._decode_isolated(user, header, exact, left_s)
                left_s -= one_done.busy_ms / 1000
        return [one for one in done if one is not None]

    async def _decode(self, user: str, header: Header, exact: bool, cpu_s: float) -> Done:
        if not _is_ordinary(header) or header.work > LARGE_WORK:
            return await self._decode_isolated(user, header, exact, cpu_s)
        lane = self._quick if header.work <= QUICK_WORK else self._large
        return await lane.run(user, self._decode_here, header, exact)

    async def _decode_isolated(self, user: str, header: Header, exact: bool, cpu_s: float) -> Done:
        await self._isolated.acquire(user)
        try:
            isolated = await self._isolation.decode(header.file, exact, cpu_s)
        finally:
            self._isolated.release()
        return Done(isolated.result, isolated.cpu_s * 1000)

    def _look(self, source: Source, exact: bool, most_work: float) -> tuple[Header | Decoded | Exception, float]:
        """Read an image's headers, and decode it at once where it is so little work; and the milliseconds it took."""
        started = time.perf_counter()
        result: Header | Decoded
        try:
            result = read_header(source(), self._max_pixels)
            if _is_ordinary(result) and result.work <= most_work:
                result = decode_file(result, self._recipe, self._max_pixels, exact)
        except Exception as error:
            return error, _ms_since(started)
        return result, _ms_since(started)

    def _look_at_all(self, sources: Sequence[Source]) -> list[tuple[Header | Decoded | Exception, float]]:
        return [self._look(source, False, 0) for source in sources]

    def _decode_here(self, header: Header, exact: bool) -> Done:
        started = time.perf_counter()
        try:
            return Done(decode_file(header, self._recipe, self._max_pixels, exact), _ms_since(started))
        except Exception as error:
            return Done(error, _ms_since(started))


class _Lane:
    """Threads of one priority, and whose turn it is."""

    def __init__(self, name: str, threads: int, slots: int, nice: int) -> None:
        self._threads = ThreadPoolExecutor(threads, name, initializer=partial(lower_priority, nice))
        self._slots = FairSlots(slots)

    async def run(self, user: str, work: Callable[..., T], *arguments: object) -> T:
        await self._slots.acquire(user)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._slots.release()


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _is_ordinary(header: Header) -> bool:
    """Whether its headers say how long an image takes to decode."""
    return header.is_plain and header.is_bounded


def _too_much_together() -> ImageError:
    return TooCostly("The images of this request take too much work together; send this one in a request of its own.")
