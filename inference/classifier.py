"""Classifies image files: decodes them here, in the gateway, then has the runner predict them in batches."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial

import numpy as np

from configs.settings import Settings
from inference.decode_pool import DecodePool
from inference.encoded_image import EncodedImage, TextPart, image_bytes
from inference.image_queue import ImageQueue
from inference.runner import Runner
from inference.runner_connection import RunnerConnection
from model.engine import Description, Probabilities
from model.errors import ImageError, NotAnImage
from model.images.decode import Decoded
from model.store import PreparedModel
from runtime.machine import cores
from runtime.memory import return_freed_memory
from web.problem import Problem, internal_error, unavailable
from web.timing import Timing

# The largest file, or base64, that the event loop reads itself; that takes it a tenth of a millisecond.
SMALL_FILE = 256 * 1024

# An image as it was decoded, and its probabilities, float32, one for each label.
Classified = tuple[Decoded, Probabilities]
Result = Classified | Problem


class Classifier:
    """Classifies images with the one model that this gateway worker serves.

    Args:
        runner: where the model runs.
        prepared: the model.
        settings: the limits for images and for the queue.

    Attributes:
        manifest: what the model is: its name, labels and so on.
        recipe: how the model takes images.
        queue: the images that wait for their answer.
    """

    def __init__(self, runner: Runner, prepared: PreparedModel, settings: Settings) -> None:
        self.manifest = prepared.manifest
        self.recipe = prepared.recipe
        self.queue = ImageQueue(settings.max_queue, self._engine_images_per_s)
        self._connection = RunnerConnection(runner, self.recipe)
        self._decode_pool = DecodePool(self.recipe, settings.max_image_pixels, settings.threads or cores())

    async def classify(self, user: str, encoded: EncodedImage, timing: Timing) -> Classified:
        """Classify one image.

        Raises:
            Problem: 400 (not an image, or a damaged one), 422 (too many pixels, or too much work), 503.
        """
        [result] = await self.classify_all(user, [encoded], timing)
        if isinstance(result, Problem):
            try:
                raise result
            finally:
                # The problem's traceback refers to this frame. Such a reference cycle would keep the image in memory.
                del result
        return result

    async def classify_all(
        self, user: str, encoded: Sequence[EncodedImage], timing: Timing
    ) -> list[Classified | Problem]:
        """Classify several images of one user, each on its own.

        Returns:
            For each image, in order, what `classify` returns, or the problem that it raises.

        Raises:
            Problem: 503, too many images wait already, or the runner is gone: no image is at fault.
        """
        with self.queue.places(user, len(encoded)):
            decoded = await self._decode(user, encoded, timing)
            good = [image for image in decoded if isinstance(image, Decoded)]
            predicted = iter(await self._predict(user, good, timing) if good else ())
            return [(image, next(predicted)) if isinstance(image, Decoded) else image for image in decoded]

    async def classify_each(
        self, user: str, encoded: Sequence[EncodedImage], timing: Timing, take: Callable[[int, Result], Awaitable[None]]
    ) -> None:
        """Classify several images of one user, each on its own, and hand over each result as soon as there is one.

        Args:
            user: the user.
            encoded: the images.
            timing: the time of all images together is added to it.
            take: takes the number of an image and its result; may be called again before it has returned.

        Raises:
            Problem: 503, too many images wait already.
        """
        with self.queue.places(user, len(encoded)):
            async with asyncio.TaskGroup() as finishing:
                sources, exact = [partial(image_bytes, one) for one in encoded], self._is_exact
                async with aclosing(self._decode_pool.decode_each(user, sources, exact)) as decoded:
                    async for number, one in decoded:
                        timing.decode_ms += one.busy_ms / min(len(encoded), self._decode_pool.threads)
                        finishing.create_task(self._finish(user, number, one.result, timing, take))

    @property
    def engine(self) -> Description | None:
        """What the model runs on; None until the runner has answered."""
        return self._connection.description

    @property
    def is_loaded(self) -> bool:
        """Whether the runner has ever answered."""
        return self.engine is not None

    def served_model(self) -> dict[str, str]:
        """Return the model as each answer of v2 names it.

        Raises:
            Problem: 503, the runner has not yet said what it runs on.
        """
        if self.engine is None:
            raise unavailable("The model is not loaded yet; send the request again shortly.")
        return {
            "name": self.manifest.name,
            "revision": self.manifest.revision,
            "engine": self.engine.engine,
            "precision": self.engine.precision,
        }

    async def is_ready(self) -> bool:
        """Return whether the runner answers; see `RunnerConnection.is_ready`."""
        return await self._connection.is_ready()

    async def warm_up(self) -> None:
        """Warm up the runner; then return the memory that this has freed."""
        await self._connection.warm_up()
        await asyncio.to_thread(return_freed_memory)

    def close(self) -> None:
        """Stop the processes that decode."""
        self._decode_pool.close()

    async def _decode(self, user: str, encoded: Sequence[EncodedImage], timing: Timing) -> list[Decoded | Problem]:
        started = time.perf_counter()
        exact = self._is_exact
        sources = [partial(image_bytes, one) for one in encoded]
        if len(sources) == 1:
            results = [await self._decode_pool.decode(user, sources[0], exact, self._may_decode_here(encoded[0]))]
        else:
            results = await self._decode_pool.decode_all(user, sources, exact)
        elapsed_ms = (time.perf_counter() - started) * 1000
        busy_ms = sum(one.busy_ms for one in results) / min(len(encoded), self._decode_pool.threads)
        timing.decode_ms += min(busy_ms, elapsed_ms)
        timing.queue_ms += max(0.0, elapsed_ms - busy_ms)
        return [_image_or_problem(one.result) for one in results]

    async def _finish(
        self,
        user: str,
        number: int,
        decoded: Decoded | Exception,
        timing: Timing,
        take: Callable[[int, Result], Awaitable[None]],
    ) -> None:
        try:
            image = _image_or_problem(decoded)
            result = image if isinstance(image, Problem) else (image, (await self._predict(user, [image], timing))[0])
        except Problem as problem:
            result = problem
        except Exception as error:
            result = internal_error(error)
        await take(number, result)

    async def _predict(self, user: str, images: list[Decoded], timing: Timing) -> Probabilities:
        pixels = images[0].pixels[np.newaxis] if len(images) == 1 else np.stack([image.pixels for image in images])
        probabilities = await self._connection.predict(user, pixels, timing)
        self.queue.count_predicted(len(images))
        return probabilities

    def _may_decode_here(self, encoded: EncodedImage) -> bool:
        """Tell whether the event loop itself may read an image: no other image waits, and the file is small."""
        return self.queue.waiting == 1 and not isinstance(encoded, TextPart) and len(encoded) <= SMALL_FILE

    @property
    def _is_exact(self) -> bool:
        return self.engine is None or self.engine.resize == "exact"

    def _engine_images_per_s(self) -> float:
        return self.engine.images_per_s if self.engine is not None else 0.0


def _image_or_problem(result: Decoded | Exception) -> Decoded | Problem:
    """Return a decoded image as it is, and an error of decoding as the problem that the caller gets.

    Raises:
        Exception: the error is not about the image.
    """
    if isinstance(result, Decoded):
        return result
    if isinstance(result, (Problem, ImageError)):
        # The thread that raised it still refers to it, and its traceback to the thread's frames with the image in them.
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
