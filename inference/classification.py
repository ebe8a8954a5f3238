"""From image files to predictions: decode here, on the gateway, then predict in the runner's batches."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from inference.decode_pool import Decoders
from inference.encoded import Encoded, image_bytes
from inference.fair_queue import Room, whole_of
from inference.runner import Runner
from model.engine import Description
from model.errors import ImageError, NotAnImage
from model.images.decode import Decoded
from model.store import PreparedModel
from runtime.machine import cores
from web.problem import Problem, unavailable
from web.timing import Timing

READY_FOR_S = 1.0
WARM_UP_EVERY_S = 0.2
RUNNER_ANSWERS_WITHIN_S = 5.0
LONGEST_RETRY_AFTER_S = 60
# Whose turn it is where the service asks itself.
OURSELVES = ""
# How many images may wait where no setting says it: what the engine computes in so long, and never fewer than so many.
QUEUE_S = 1.0
SHORTEST_QUEUE = 64

Probabilities = NDArray[np.float32]


class Classification:
    """One gateway worker's way to the model, and the bound on what waits for it.

    Args:
        runner: where the model runs.
        prepared: the model that it serves.
        settings: the bounds on images and on the queue.
    """

    def __init__(self, runner: Runner, prepared: PreparedModel, settings: Settings) -> None:
        self.manifest = prepared.manifest
        self.recipe = prepared.recipe
        self.engine: Description | None = None
        self._runner = runner
        self._queue_setting = settings.max_queue
        self._places = Room()
        self._done = _Rate()
        self._answered_at = float("-inf")
        self._decoders = Decoders(self.recipe, settings.max_image_pixels, settings.threads or cores())

    async def classify(self, user: str, encoded: Encoded, timing: Timing) -> tuple[Decoded, Probabilities]:
        """One image: as it was decoded, and its probabilities, float32, labels.

        Raises:
            Problem: 400 (no image, or a damaged one), 422 (too many pixels, or too much work), 503.
        """
        [result] = await self.classify_all(user, [encoded], timing)
        if isinstance(result, Problem):
            try:
                raise result
            finally:
                # An error that is held by its own traceback would keep the image in memory.
                del result
        return result

    async def classify_all(
        self, user: str, encoded: Sequence[Encoded], timing: Timing
    ) -> list[tuple[Decoded, Probabilities] | Problem]:
        """Several images of one user, each either as by `classify` or the problem with it.

        Raises:
            Problem: 503, where too many images wait already, or the runner is gone: that is no image's fault.
        """
        with self._waiting(user, len(encoded)):
            decoded = await self._decode(user, encoded, timing)
            good = [image for image in decoded if isinstance(image, Decoded)]
            predicted = iter(await self._predict(user, good, timing) if good else ())
            return [(image, next(predicted)) if isinstance(image, Decoded) else image for image in decoded]

    @property
    def waiting(self) -> int:
        """Images that wait for their answer."""
        return self._places.used

    def overload(self, user: str) -> Problem | None:
        """Why no image of that user can be taken just now; None where one can."""
        if self._has_room(user, 1):
            return None
        detail = "The service is overloaded; send the request again after the time in Retry-After."
        return unavailable(detail, self._retry_after_s(), kind="overload")

    def top(self, probabilities: Probabilities, most: int) -> list[tuple[int, str, float]]:
        """The most probable classes of one image, the highest first: number, label, probability to 4 decimals."""
        best = np.argsort(-probabilities, kind="stable")[:most]
        return [(int(number), self.manifest.labels[number], round(float(probabilities[number]), 4)) for number in best]

    def served_by(self) -> dict[str, str]:
        """The model as every answer of v2 names it.

        Raises:
            Problem: 503, the runner has not yet said what it runs.
        """
        if self.engine is None:
            raise unavailable("The model is not loaded yet; send the request again shortly.")
        return {
            "name": self.manifest.name,
            "revision": self.manifest.revision,
            "engine": self.engine.engine,
            "precision": self.engine.precision,
        }

    @property
    def is_loaded(self) -> bool:
        """Whether the runner has answered at all."""
        return self.engine is not None

    async def is_ready(self) -> bool:
        """Whether the runner answers; asked with an image of its own, at most once in `READY_FOR_S`."""
        if time.monotonic() - self._answered_at < READY_FOR_S:
            return True
        blank = np.zeros((1, self.recipe.height, self.recipe.width, 3), np.uint8)
        try:
            async with asyncio.timeout(RUNNER_ANSWERS_WITHIN_S):
                await self._ask_runner(OURSELVES, blank, Timing())
                if self.engine is None:
                    self.engine = await self._runner.describe()
        except (Problem, TimeoutError):
            return False
        return True

    async def warm_up(self) -> None:
        """Return once the runner has answered."""
        self._decoders.start()
        while not await self.is_ready() or self.engine is None:
            await asyncio.sleep(WARM_UP_EVERY_S)

    def close(self) -> None:
        """End what was started beside the worker."""
        self._decoders.close()

    @property
    def max_queue(self) -> int:
        """How many images of one user may wait before new ones are refused; others find a third more."""
        if self._queue_setting is not None:
            return self._queue_setting
        return max(SHORTEST_QUEUE, int(self.engine.images_per_s * QUEUE_S)) if self.engine else SHORTEST_QUEUE

    @contextmanager
    def _waiting(self, user: str, images: int) -> Iterator[None]:
        if not self._has_room(user, images):
            no_room = "The service has no room for so many images; send them again shortly."
            raise self.overload(user) or unavailable(no_room, kind="overload")
        self._places.take(user, images)
        try:
            yield
        finally:
            self._places.give_back(user, images)

    def _has_room(self, user: str, images: int) -> bool:
        """Whether so many may wait; where nothing does, any number may."""
        return not self.waiting or self._places.has(user, images, whole_of(self.max_queue))

    async def _decode(self, user: str, encoded: Sequence[Encoded], timing: Timing) -> list[Decoded | Problem]:
        started = time.perf_counter()
        exact = self.engine is None or self.engine.resize == "exact"
        sources = [partial(image_bytes, one) for one in encoded]
        if len(sources) == 1:
            done = [await self._decoders.decode(user, sources[0], exact)]
        else:
            done = await self._decoders.decode_all(user, sources, exact)
        elapsed_ms = (time.perf_counter() - started) * 1000
        busy_ms = sum(one.busy_ms for one in done) / min(len(encoded), self._decoders.threads)
        timing.decode_ms += min(busy_ms, elapsed_ms)
        timing.queue_ms += max(0.0, elapsed_ms - busy_ms)
        return [_told(one.result) for one in done]

    async def _predict(self, user: str, images: list[Decoded], timing: Timing) -> Probabilities:
        pixels = images[0].pixels[np.newaxis] if len(images) == 1 else np.stack([image.pixels for image in images])
        probabilities = await self._ask_runner(user, pixels, timing)
        self._done.add(len(images))
        return probabilities

    async def _ask_runner(self, user: str, pixels: NDArray[np.uint8], timing: Timing) -> Probabilities:
        started = time.perf_counter()
        predicted = await self._runner.predict(pixels, user)
        elapsed_ms = (time.perf_counter() - started) * 1000
        timing.infer_ms += predicted.infer_ms
        timing.queue_ms += elapsed_ms - predicted.infer_ms
        self._answered_at = time.monotonic()
        return predicted.probabilities

    def _retry_after_s(self) -> float:
        """How long what waits now takes, at the speed of late."""
        per_second = self._done.per_second()
        return min(LONGEST_RETRY_AFTER_S, math.ceil(self.waiting / per_second)) if per_second else 1.0


def _told(result: Decoded | Exception) -> Decoded | Problem:
    """What came of an image, as a caller is told it.

    Raises:
        Exception: it is none of the image's faults.
    """
    if isinstance(result, Decoded):
        return result
    if isinstance(result, (Problem, ImageError)):
        # The thread it comes from still holds it, and it, by its traceback, the thread's frames with the image in them.
        result.__traceback__ = result.__context__ = None
    if isinstance(result, Problem):
        return result
    if isinstance(result, NotAnImage):
        return Problem(400, str(result), field="image")
    if isinstance(result, ImageError):
        return Problem(422, str(result), field="image")
    if isinstance(result, MemoryError):
        return unavailable("The service is short of memory; send the request again shortly.", kind="overload")
    raise result


class _Rate:
    """How many images a second were done, of late."""

    SPAN_S = 1.0

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._count = 0
        self._last = 0.0

    def add(self, images: int) -> None:
        now = time.monotonic()
        self._count += images
        if now - self._since >= self.SPAN_S:
            self._last = self._count / (now - self._since)
            self._since, self._count = now, 0

    def per_second(self) -> float:
        elapsed = time.monotonic() - self._since
        return self._last if elapsed < self.SPAN_S else self._count / elapsed
