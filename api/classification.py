"""From an image file to its predictions: decode here, on the gateway, then predict in the runner's batches."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import aiohttp
import numpy as np
from bentoml.exceptions import BentoMLException
from numpy.typing import NDArray

from configs.settings import Settings
from model.errors import NotAnImage, TooManyPixels
from model.image import Decoded, decode
from model.store import PreparedModel
from problems.problem import Problem, unavailable

Predict = Callable[[NDArray[np.uint8]], Awaitable[NDArray[np.float32]]]

READY_FOR_S = 1.0
WARM_UP_EVERY_S = 0.2
RUNNER_ANSWERS_WITHIN_S = 5.0


class Classification:
    """One gateway worker's way to the model.

    Args:
        predict: the runner's batchable method: uint8, n x height x width x 3 → probabilities, n x labels.
        prepared: the model that it serves.
        settings: the bounds on images and on the queue.
    """

    def __init__(self, predict: Predict, prepared: PreparedModel, settings: Settings) -> None:
        self.manifest = prepared.manifest
        self._predict = predict
        self._recipe = prepared.recipe
        self._max_pixels = settings.max_image_pixels
        self._max_queue = settings.max_queue
        self._waiting = 0
        self._answered_at = float("-inf")
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")

    async def decode(self, data: bytes) -> Decoded:
        """The image in a file, as the model takes it.

        Raises:
            Problem: 400 (no image, or a damaged one), 422 (too many pixels).
        """
        work = partial(decode, data, self._recipe, self._max_pixels)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoders, work)
        except NotAnImage as error:
            raise Problem(400, str(error), field="image") from None
        except TooManyPixels as error:
            raise Problem(422, str(error), field="image") from None

    async def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32, n x labels, for uint8, n x height x width x 3.

        Raises:
            Problem: 503, where too many images wait already, or the runner is gone.
        """
        images = len(pixels)
        if self._waiting + images > self._max_queue:
            raise unavailable("The service is overloaded; send the request again shortly.")
        self._waiting += images
        try:
            answer = await self._ask_runner(pixels)
        finally:
            self._waiting -= images
        self._answered_at = time.monotonic()
        return answer

    def top(self, probabilities: NDArray[np.float32], most: int) -> list[tuple[int, str, float]]:
        """The most probable classes of one image, the highest first: number, label, probability."""
        best = np.argsort(-probabilities, kind="stable")[:most]
        return [(int(number), self.manifest.labels[number], float(probabilities[number])) for number in best]

    @property
    def is_loaded(self) -> bool:
        """Whether the runner has answered at all."""
        return self._answered_at > float("-inf")

    async def is_ready(self) -> bool:
        """Whether the runner answers; asked with an image of its own, at most once in `READY_FOR_S`."""
        if time.monotonic() - self._answered_at < READY_FOR_S:
            return True
        blank = np.zeros((1, self._recipe.height, self._recipe.width, 3), np.uint8)
        try:
            await asyncio.wait_for(self.probabilities(blank), RUNNER_ANSWERS_WITHIN_S)
        except (Problem, TimeoutError):
            return False
        return True

    async def warm_up(self) -> None:
        """Return once the runner has answered."""
        while not await self.is_ready():
            await asyncio.sleep(WARM_UP_EVERY_S)

    async def _ask_runner(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        # A connection that the runner closed for idleness while the request was on its way costs one more try.
        for is_last in (False, True):
            try:
                return await self._predict(pixels)
            except (aiohttp.ClientError, TimeoutError, BentoMLException, OSError) as error:
                if is_last or not isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
                    break
        raise unavailable("The model does not answer just now; send the request again shortly.")
