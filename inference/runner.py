"""The interface of a runner, and the runner that is embedded in the gateway's process."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from bentoml import server_context
from numpy.typing import NDArray
from prometheus_client import Histogram

from inference.batcher import Batcher, Predicted
from model.engine import Description, Engine, usual_sizes

# A caller who comes meanwhile may have to wait for a batch that is computed in advance. Longer ones are not.
WARM_UP_BATCH_S = 0.1


class Runner(Protocol):
    """Runs the model: in this process, or as a separate service."""

    @property
    def description(self) -> Description | None:
        """What the model runs on; None if the runner has to be asked (`describe`)."""

    async def predict(self, images: NDArray[np.uint8], user: str) -> Predicted:
        """Compute the probabilities of some images. Users take turns.

        Args:
            images: uint8, n x height x width x 3.
            user: whose turn the images take.

        Raises:
            Problem: 503, the runner is gone, or can't take more.
        """

    async def describe(self) -> Description:
        """Return what the model runs on.

        Raises:
            Problem: 503, the runner is gone.
        """

    async def warm_up(self, blank: NDArray[np.uint8]) -> None:
        """Compute batches of other sizes than one, while no caller waits: the first of a size takes longer.

        Args:
            blank: uint8, 1 x height x width x 3.
        """


def predict_timed(engine: Engine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute one batch, and add a column with the milliseconds that it took.

    A batchable method of BentoML returns one array, and each caller gets its own rows of it. So the time of the batch
    goes with every row, in a column after the labels.

    Args:
        engine: computes the batch.
        images: uint8, n x height x width x 3.

    Returns:
        float32, n x (labels + 1).
    """
    started = time.perf_counter()
    probabilities = engine.predict(images)
    infer_ms = (time.perf_counter() - started) * 1000
    return np.column_stack([probabilities, np.full(len(probabilities), infer_ms, np.float32)])


class EmbeddedRunner:
    """Runs the model in the gateway's own process, so images are not sent to another one.

    Args:
        engine: computes the batches.
        description: what the engine runs on.
        max_batch: the most images in a batch.
        observe: called with the size of each batch.
    """

    def __init__(
        self, engine: Engine, description: Description, max_batch: int, observe: Callable[[int], None]
    ) -> None:
        self._max_batch = max_batch
        self._batcher = Batcher(engine, max_batch, observe)
        self._streams = engine.streams
        self.description = description

    async def predict(self, images: NDArray[np.uint8], user: str) -> Predicted:
        """See `Runner`."""
        if len(images) <= self._max_batch:
            return await self._batcher.predict(images, user)
        done = await asyncio.gather(*(self._batcher.predict(part, user) for part in split(images, self._max_batch)))
        return Predicted(np.concatenate([one.probabilities for one in done]), max(one.infer_ms for one in done))

    async def describe(self) -> Description:
        """See `Runner`."""
        return self.description

    async def warm_up(self, blank: NDArray[np.uint8]) -> None:
        """See `Runner`. Each stream computes each size, since each has its own memory for it."""
        for size in usual_sizes(self._max_batch)[1:]:
            if size / self.description.images_per_s <= WARM_UP_BATCH_S:
                for _ in range(self._streams):
                    await self._batcher.compute_when_idle(np.repeat(blank, size, axis=0))


def batch_sizes(max_batch: int) -> Callable[[int], None]:
    """Return a function that records the size of a batch in the histogram that BentoML has for a runner service."""
    histogram = Histogram(
        "bentoml_service_adaptive_batch_size",
        "Service adaptive batch size",
        ["runner_name", "worker_index", "method_name", "service_version", "service_name"],
        buckets=usual_sizes(max_batch),
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


def split(images: NDArray[np.uint8], most: int) -> list[NDArray[np.uint8]]:
    """Split images into batches of at most `most` images."""
    return [images[first : first + most] for first in range(0, len(images), most)]
