"""Decodes images outside the event loop: in threads, or, if unusual, in a process of its own. Users take turns.

The headers of an image say how much work it is (see `model/images/formats/`). An ordinary image takes a thread a third
of a second at most. Small ones have threads of their own; large ones have threads of lower priority. Any other image is
decoded in a process of its own, which can be stopped (see `isolated_decoder.py`). Only a small image that is alone is
decoded on the event loop itself.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from inference.fair_queue import FairSlots, FairThreads
from inference.isolated_decoder import IsolatedDecoder
from model.errors import ImageError, TooCostly
from model.images.decode import Decoded, decode_file
from model.images.formats import read_header
from model.images.formats.header import Header
from model.recipe import Recipe
from runtime.machine import cores, memory_bytes
from runtime.memory import freed_memory
from web.problem import unavailable

logger = logging.getLogger("bentoml.classifier")

# Work, in pixels of a baseline JPEG: what keeps a thread busy for about 5 ms, 20 ms, and 200 ms.
SMALL_WORK, QUICK_WORK, LARGE_WORK = 500_000, 2_000_000, 16_000_000
# The most work in the first round of the ordinary images of one request, when it is not known yet how long they take:
# as much as the largest image alone.
WORK_TOGETHER = 50_000_000
# The processor time for decoding the images of one request, seconds; and what is subtracted from it for each image,
# since the model needs that time. An ordinary image takes a second at most, but each page of its memory may cost a
# virtual machine 30 microseconds more, if its host has to find it first: a second for 130 MB.
CPU_S, CPU_OF_EACH_S = 1.35, 0.01
# The processor time for an unusual image, seconds: one may be made to use all that it is given.
UNUSUAL_CPU_S = 1.15
# The longest that an ordinary image takes, by its work, seconds. Most take a third of it.
CPU_OF_WORK_S = 1.15 / WORK_TOGETHER
LEAST_CPU_S = 0.05
QUICK_NICE, LARGE_NICE = 5, 15
# A small file may hold a large image: after one of so many pixels, the memory in which it was decoded is returned.
LARGE_PIXELS = 1_000_000
# The memory for each image in a process of its own. There are only as many processes as leave half of the memory free.
ISOLATED_BYTES = 1024**3

# Returns the bytes of an image file. An exception that it raises becomes the result of that image.
Source = Callable[[], bytes]


class DecodeResult(NamedTuple):
    """A decoded image, or the error, and the milliseconds that its decoder was busy.

    A decoder that waits for a processor is busy, too. `cpu_s` is the processor time alone, seconds, without that for
    reading the headers.
    """

    result: Decoded | Exception
    busy_ms: float
    cpu_s: float = 0.0


class DecodePool:
    """All decoders of one gateway worker.

    Args:
        recipe: how the model takes images.
        max_pixels: the most pixels that an image may have.
        threads: how many images of each kind are decoded in threads at the same time.
    """

    def __init__(self, recipe: Recipe, max_pixels: int, threads: int) -> None:
        self.threads = threads
        self._recipe = recipe
        self._max_pixels = max_pixels
        # Two slots for each thread: its next image is already in its queue, so it never waits for the event loop.
        self._quick = FairThreads("decode", threads, 2 * threads, QUICK_NICE)
        self._large = FairThreads("decode-large", threads, threads, LARGE_NICE)
        self._isolated_decoder = IsolatedDecoder(recipe, max_pixels)
        self._isolated_slots = FairSlots(max(1, min(cores(), memory_bytes() // (2 * ISOLATED_BYTES))))

    def close(self) -> None:
        """Stop the process for unusual images, if there is one, with whatever it is decoding."""
        self._isolated_decoder.close()

    async def decode(self, user: str, source: Source, exact: bool, here: bool = False) -> DecodeResult:
        """Decode one image. If this is cancelled, the work stops within a third of a second.

        Args:
            user: whose turn the image takes.
            source: returns the file.
            exact: whether to resize exactly as the reference does, or faster.
            here: whether to decode an image of at most `SMALL_WORK` on the event loop: waking a thread takes longer.
        """
        if here:
            result, busy_ms = self._read(source, exact, SMALL_WORK)
        else:
            result, busy_ms = await self._quick.run(user, self._read, source, exact, QUICK_WORK)
        if not isinstance(result, Header):
            return DecodeResult(result, busy_ms)
        return await self._decode(user, result, exact, CPU_S)

    async def decode_all(self, user: str, sources: Sequence[Source], exact: bool) -> list[DecodeResult]:
        """Decode several images of one request as `decode_each` does, and return the results in order."""
        results = {number: result async for number, result in self.decode_each(user, sources, exact)}
        return [results[number] for number in range(len(sources))]

    async def decode_each(
        self, user: str, sources: Sequence[Source], exact: bool
    ) -> AsyncGenerator[tuple[int, DecodeResult], None]:
        """Decode several images of one request, and refuse the largest if all take too much processor time together.

        Ordinary images come first, so that none of them is refused because of an unusual image beside it. They are
        decoded in rounds: the first of as much work as the largest image alone, each other one of as much as is sure to
        take no more than the time that is left.

        Args:
            user: whose turn the images take.
            sources: each returns one file.
            exact: see `decode`.

        Yields:
            The number of each image with its result, as soon as it is decoded.
        """
        headers: dict[int, Header] = {}
        for number, (read, busy_ms) in enumerate(await self._quick.run(user, self._read_headers, sources)):
            if isinstance(read, Header):
                headers[number] = read
            else:
                yield number, DecodeResult(read, busy_ms)
        left_s = CPU_S - CPU_OF_EACH_S * len(sources)

        # One image is always decoded, however much work it is.
        work = max(WORK_TOGETHER, min((one.work for one in headers.values() if _is_ordinary(one)), default=0))
        while chosen := _cheapest_together(headers, work):
            decoding = {number: self._decode(user, headers.pop(number), exact, left_s) for number in chosen}
            async with aclosing(_as_completed(decoding)) as decoded:
                async for number, result in decoded:
                    left_s -= result.cpu_s
                    yield number, result
            work = left_s / CPU_OF_WORK_S

        for number, header in headers.items():
            if not _is_ordinary(header) and left_s >= LEAST_CPU_S:
                result = await self._decode_isolated(user, header, exact, left_s)
                left_s -= result.cpu_s
            else:
                result = _refused()
            yield number, result

    async def _decode(self, user: str, header: Header, exact: bool, cpu_s: float) -> DecodeResult:
        if not _is_ordinary(header) or header.work > LARGE_WORK:
            return await self._decode_isolated(user, header, exact, cpu_s)
        threads = self._quick if header.work <= QUICK_WORK else self._large
        return await threads.run(user, self._decode_in_thread, header, exact)

    async def _decode_isolated(self, user: str, header: Header, exact: bool, cpu_s: float) -> DecodeResult:
        if not _is_ordinary(header):
            cpu_s = min(cpu_s, UNUSUAL_CPU_S)
        await self._isolated_slots.acquire(user)
        try:
            isolated = await self._isolated_decoder.decode(header.file, exact, cpu_s)
        except OSError as error:
            # The system may have no process, file handle or memory left.
            logger.warning("An image could not be decoded: %s.", error.strerror)
            problem = unavailable("The service can't decode this image now; send it again shortly.", kind="overload")
            return DecodeResult(problem, 0.0)
        finally:
            self._isolated_slots.release()
        return DecodeResult(isolated.result, isolated.cpu_s * 1000, isolated.cpu_s)

    def _read(self, source: Source, exact: bool, max_work: float) -> tuple[Header | Decoded | Exception, float]:
        """Read the headers of an image, and decode it at once if it is ordinary and of at most `max_work`.

        Returns:
            The decoded image, or the headers of one that is still to be decoded, or the error; and the milliseconds.
        """
        started = time.perf_counter()
        result: Header | Decoded
        try:
            result = read_header(source(), self._max_pixels)
            if _is_ordinary(result) and result.work <= max_work:
                result = self._decode_file(result, exact)
        except Exception as error:
            return error, _ms_since(started)
        return result, _ms_since(started)

    def _read_headers(self, sources: Sequence[Source]) -> list[tuple[Header | Decoded | Exception, float]]:
        return [self._read(source, False, 0) for source in sources]

    def _decode_in_thread(self, header: Header, exact: bool) -> DecodeResult:
        started, cpu_before = time.perf_counter(), time.thread_time()
        result: Decoded | Exception
        try:
            result = self._decode_file(header, exact)
        except Exception as error:
            result = error
        return DecodeResult(result, _ms_since(started), time.thread_time() - cpu_before)

    def _decode_file(self, header: Header, exact: bool) -> Decoded:
        try:
            return decode_file(header, self._recipe, self._max_pixels, exact)
        finally:
            if header.width * header.height >= LARGE_PIXELS:
                freed_memory.return_soon()


async def _as_completed(
    work: Mapping[int, Coroutine[Any, Any, DecodeResult]],
) -> AsyncGenerator[tuple[int, DecodeResult], None]:
    """Run all at once; yield the number and the result of each as soon as it is done."""
    numbers = {asyncio.create_task(one): number for number, one in work.items()}
    unfinished = set(numbers)
    try:
        while unfinished:
            done, unfinished = await asyncio.wait(unfinished, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield numbers[task], task.result()
    finally:
        for task in unfinished:
            task.cancel()


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _is_ordinary(header: Header) -> bool:
    """Return whether the headers tell how long the image takes to decode."""
    return header.is_plain and header.is_bounded


def _cheapest_together(headers: Mapping[int, Header], most_work: float) -> list[int]:
    """Return the numbers of the ordinary images of the next round: the cheapest first, as many as `most_work` allows.

    The order by work keeps a large image from pushing out the small ones beside it.
    """
    ordinary = sorted((header.work, number) for number, header in headers.items() if _is_ordinary(header))
    together = itertools.accumulate(work for work, _ in ordinary)
    return [number for (_, number), work in zip(ordinary, together, strict=True) if work <= most_work]


def _refused() -> DecodeResult:
    error: ImageError = TooCostly(
        "The images of this request take too much work together; send this one in a request of its own."
    )
    return DecodeResult(error, 0.0)
