"""The gateway's side of the runner: images there, probabilities back, and errors that a caller understands."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from bentoml import server_context
from numpy.typing import NDArray
from prometheus_client import Histogram

from inference.batcher import Batcher, Predicted
from model.engine import Description, Engine


class Runner(Protocol):
    """Where the model runs."""

    async def predict(self, images: NDArray[np.uint8], user: str) -> Predicted:
        """Predict uint8, n x height x width x 3, for a user, who takes turns with others.

        Raises:
            Problem: 503, the runner is gone, or can't take more.
        """

    async def describe(self) -> Description:
        """What the model runs on there.

        Raises:
            Problem: 503, the runner is gone.
        """


def predict_timed(engine: Engine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One batch on the engine; float32, n x (labels + 1).

    A batchable method of BentoML's answers with one array, of which each caller gets its rows: how long the batch took
    stands in a column of its own, after the labels.
    """
    started = time.perf_counter()
    probabilities = engine.predict(images)
    infer_ms = (time.perf_counter() - started) * 1000
    return np.column_stack([probabilities, np.full(len(probabilities), infer_ms, np.float32)])


class EmbeddedRunner:
    """The model in the gateway's own process: no hop, and nothing sent twice."""

    def __init__(
        self, engine: Engine, description: Description, max_batch: int, observe: Callable[[int], None]
    ) -> None:
        self._max_batch = max_batch
        self._batcher = Batcher(engine, max_batch, observe)
        self._description = description

    async def predict(self, images: NDArray[np.uint8], user: str) -> Predicted:
        """See `Runner`."""
        if len(images) <= self._max_batch:
            return await self._batcher.predict(images, user)
        done = await asyncio.gather(*(self._batcher.predict(part, user) for part in parts(images, self._max_batch)))
        return Predicted(np.concatenate([one.probabilities for one in done]), max(one.infer_ms for one in done))

    async def describe(self) -> Description:
        """See `Runner`."""
        return self._description


def batch_sizes(max_batch: int) -> Callable[[int], None]:
    """Return a function that counts the size of a batch, in the histogram that BentoML has for a runner service."""
    powers = [2**power for power in range(max_batch.bit_length()) if 2**power < max_batch]
    histogram = Histogram(
        "bentoml_service_adaptive_batch_size",
        "Service adaptive batch size",
        ["runner_name", "worker_index", "method_name", "service_version", "service_name"],
        buckets=[*powers, max_batch],
    )
    counted = histogram.labels(
        runner_name="ResNetRunner",
        worker_index=server_context.worker_index,
        method_name="predict",
        service_version=server_context.bento_version,
        service_name=server_context.bento_name,
    )
    observe: Callable[[int], None] = counted.observe
    return observe


def parts(images: NDArray[np.uint8], most: int) -> list[NDArray[np.uint8]]:
    """Split images into batches of at most so many."""
    return [images[first : first + most] for first in range(0, len(images), most)]
