"""The gateway's side of the runner: images there, probabilities back, and errors that a caller understands."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from bentoml._internal.container import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml._internal.utils.metrics import exponential_buckets
from numpy.typing import NDArray

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
    """Counts the sizes of batches, in the histogram in which BentoML counts those of a runner that is a service."""
    histogram = BentoMLContainer.metrics_client.get().Histogram(
        namespace="bentoml_service",
        name="adaptive_batch_size",
        documentation="Service adaptive batch size",
        labelnames=["runner_name", "worker_index", "method_name", "service_version", "service_name"],
        buckets=exponential_buckets(1, 2, max_batch),
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
