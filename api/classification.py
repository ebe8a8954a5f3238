"""From image files to predictions: decode here, on the gateway, then predict in the runner's batches."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from api.requests import Encoded, image_bytes
from api.runner import Runner
from api.timing import Timing
from configs.machine import cores
from configs.processes import step_back
from configs.settings import Settings
from model.engine import Description
from model.errors import NotAnImage, TooManyPixels
from model.image import Decoded, decode
from model.store import PreparedModel
from problems.problem import Problem, unavailable

READY_FOR_S = 1.0
WARM_UP_EVERY_S = 0.2
RUNNER_ANSWERS_WITHIN_S = 5.0
LONGEST_RETRY_AFTER_S = 60
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

    Attributes:
        waiting: images that wait for their answer.
    """

    def __init__(self, runner: Runner, prepared: PreparedModel, settings: Settings) -> None:
        self.manifest = prepared.manifest
        self.recipe = prepared.recipe
        self.engine: Description | None = None
        self._runner = runner
        self._max_pixels = settings.max_image_pixels
        self._queue_setting = settings.max_queue
        self.waiting = 0
        self._done = _Rate()
        self._answered_at = float("-inf")
        self._threads = settings.threads or cores()
        self._decoders = ThreadPoolExecutor(self._threads, "decode", initializer=step_back)

    async def classify(self, encoded: Encoded, timing: Timing) -> tuple[Decoded, Probabilities]:
        """One image: as it was decoded, and its probabilities, float32, labels.

        Raises:
            Problem: 400 (no image, or a damaged one), 422 (too many pixels), 503.
        """
        [result] = await self.classify_all([encoded], timing)
        if isinstance(result, Problem):
            raise result
        return result

    async def classify_all(
        self, encoded: Sequence[Encoded], timing: Timing
    ) -> list[tuple[Decoded, Probabilities] | Problem]:
        """Several images, each either as by `classify` or the problem with it.

        Raises:
            Problem: 503, where too many images wait already, or the runner is gone: that is no image's fault.
        """
        with self._places(len(encoded)):
            decoded = await self._decode(encoded, timing)
            good = [image for image in decoded if isinstance(image, Decoded)]
            predicted = iter(await self._predict(good, timing) if good else ())
            return [(image, next(predicted)) if isinstance(image, Decoded) else image for image in decoded]

    def overload(self) -> Problem | None:
        """Why no image can be taken just now; None where one can."""
        if self.waiting < self.max_queue:
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
                await self._ask_runner(blank, Timing())
                if self.engine is None:
                    self.engine = await self._runner.describe()
        except (Problem, TimeoutError):
            return False
        return True

    async def warm_up(self) -> None:
        """Return once the runner has answered."""
        while not await self.is_ready() or self.engine is None:
            await asyncio.sleep(WARM_UP_EVERY_S)

    @property
    def max_queue(self) -> int:
        """How many images may wait before new ones are refused."""
        if self._queue_setting is not None:
            return self._queue_setting
        return max(SHORTEST_QUEUE, int(self.engine.images_per_s * QUEUE_S)) if self.engine else SHORTEST_QUEUE

    @contextmanager
    def _places(self, images: int) -> Iterator[None]:
        if self.waiting and self.waiting + images > self.max_queue:
            no_room = "The service has no room for so many images; send them again shortly."
            raise self.overload() or unavailable(no_room, kind="overload")
        self.waiting += images
        try:
            yield
        finally:
            self.waiting -= images

    async def _decode(self, encoded: Sequence[Encoded], timing: Timing) -> list[Decoded | Problem]:
        loop, started = asyncio.get_running_loop(), time.perf_counter()
        # All are under way before the first is awaited, and none raises.
        tasks = [loop.run_in_executor(self._decoders, self._decode_one, one) for one in encoded]
        done = [await task for task in tasks]
        elapsed_ms = (time.perf_counter() - started) * 1000
        busy_ms = sum(spent_ms for _, spent_ms in done) / min(len(encoded), self._threads)
        timing.decode_ms += min(busy_ms, elapsed_ms)
        timing.queue_ms += max(0.0, elapsed_ms - busy_ms)
        return [image for image, _ in done]

    def _decode_one(self, encoded: Encoded) -> tuple[Decoded | Problem, float]:
        """The image, or the problem with it, and the milliseconds that it took."""
        started = time.perf_counter()
        result: Decoded | Problem
        try:
            # Float32 promises the reference's answers to 4 decimals; what rounds more need not decode more exactly.
            exact = self.engine is None or self.engine.precision == "f32"
            result = decode(image_bytes(encoded), self.recipe, self._max_pixels, exact)
        except Problem as problem:
            result = problem
        except NotAnImage as error:
            result = Problem(400, str(error), field="image")
        except TooManyPixels as error:
            result = Problem(422, str(error), field="image")
        return result, (time.perf_counter() - started) * 1000

    async def _predict(self, images: list[Decoded], timing: Timing) -> Probabilities:
        pixels = images[0].pixels[np.newaxis] if len(images) == 1 else np.stack([image.pixels for image in images])
        probabilities = await self._ask_runner(pixels, timing)
        self._done.add(len(images))
        return probabilities

    async def _ask_runner(self, pixels: NDArray[np.uint8], timing: Timing) -> Probabilities:
        started = time.perf_counter()
        predicted = await self._runner.predict(pixels)
        elapsed_ms = (time.perf_counter() - started) * 1000
        timing.infer_ms += predicted.infer_ms
        timing.queue_ms += elapsed_ms - predicted.infer_ms
        self._answered_at = time.monotonic()
        return predicted.probabilities

    def _retry_after_s(self) -> float:
        """How long what waits now takes, at the speed of late."""
        per_second = self._done.per_second()
        return min(LONGEST_RETRY_AFTER_S, math.ceil(self.waiting / per_second)) if per_second else 1.0


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
