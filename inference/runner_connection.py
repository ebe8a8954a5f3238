"""The gateway's connection to the runner: measures each prediction, and knows whether the runner answers."""

import asyncio
import time

import numpy as np
from numpy.typing import NDArray

from inference.runner import Runner
from model.engine import Probabilities
from model.recipe import Recipe
from web.problem import Problem
from web.timing import Timing

READY_FOR_S = 1.0
WARM_UP_EVERY_S = 0.2
# How long the warm-up waits once the runner is ready: callers who waited for the service go first.
AFTER_READY_S = 0.3
RUNNER_ANSWERS_WITHIN_S = 5.0
# The user of the service's own requests.
SERVICE_USER = ""


class RunnerConnection:
    """Sends images to the runner.

    Args:
        runner: where the model runs.
        recipe: says which size of image the model takes.

    Attributes:
        description: what the model runs on; None until a runner of another process has answered.
    """

    def __init__(self, runner: Runner, recipe: Recipe) -> None:
        self.description = runner.description
        self._runner = runner
        self._recipe = recipe
        self._answered_at = float("-inf")

    async def predict(self, user: str, images: NDArray[np.uint8], timing: Timing) -> Probabilities:
        """Compute the probabilities of some images, and add the time they took to `timing`.

        Args:
            user: whose turn the images take.
            images: uint8, n x height x width x 3.
            timing: gets the time in the model as `infer_ms`, the rest as `queue_ms`.

        Returns:
            float32, n x labels.

        Raises:
            Problem: 503, the runner is gone, or can't take more.
        """
        started = time.perf_counter()
        predicted = await self._runner.predict(images, user)
        elapsed_ms = (time.perf_counter() - started) * 1000
        timing.infer_ms += predicted.infer_ms
        timing.queue_ms += elapsed_ms - predicted.infer_ms
        self._answered_at = time.monotonic()
        return predicted.probabilities

    async def is_ready(self) -> bool:
        """Return whether the runner answers. Sends it a blank image if its last answer is older than `READY_FOR_S`."""
        if self.description is not None and time.monotonic() - self._answered_at < READY_FOR_S:
            return True
        try:
            async with asyncio.timeout(RUNNER_ANSWERS_WITHIN_S):
                await self.predict(SERVICE_USER, self._blank(), Timing())
                if self.description is None:
                    self.description = await self._runner.describe()
        except (Problem, TimeoutError):
            return False
        return True

    async def warm_up(self) -> None:
        """Wait until the runner has answered, and has said what it runs on; then have it warm up for larger batches."""
        while not await self.is_ready() or self.description is None:
            await asyncio.sleep(WARM_UP_EVERY_S)
        await asyncio.sleep(AFTER_READY_S)
        await self._runner.warm_up(self._blank())

    def _blank(self) -> NDArray[np.uint8]:
        return np.zeros((1, self._recipe.height, self._recipe.width, 3), np.uint8)
