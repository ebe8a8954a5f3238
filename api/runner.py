"""The gateway's side of the runner: images there, probabilities back, and errors that a caller understands."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import numpy as np
from bentoml.exceptions import BentoMLException
from numpy.typing import NDArray

from model.engine import Engine
from problems.problem import unavailable

# The greatest batch that the runner makes of what callers sent.
MAX_BATCH_SIZE = 16


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the runner made of some images.

    Attributes:
        probabilities: float32, n x labels.
        infer_ms: how long the model took over the batch they were in.
    """

    probabilities: NDArray[np.float32]
    infer_ms: float


class Runner(Protocol):
    """Where the model runs."""

    async def predict(self, images: NDArray[np.uint8]) -> Predicted:
        """Predict uint8, n x height x width x 3.

        Raises:
            Problem: 503, the runner is gone, or can't take more.
        """

    async def describe(self) -> dict[str, str]:
        """`engine` and `precision` of the model that runs there.

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


class RemoteRunner:
    """The runner as a BentoML service of its own, which batches what all callers send.

    Args:
        proxy: gives BentoML's asynchronous client of it, which is there once the worker has started.
    """

    def __init__(self, proxy: Callable[[], Any]) -> None:
        self._proxy = proxy

    async def predict(self, images: NDArray[np.uint8]) -> Predicted:
        """See `Runner`."""
        parts = [images[first : first + MAX_BATCH_SIZE] for first in range(0, len(images), MAX_BATCH_SIZE)]
        rows = np.concatenate(await asyncio.gather(*(self._ask("predict", part) for part in parts)))
        return Predicted(rows[:, :-1], float(rows[:, -1].max()))

    async def describe(self) -> dict[str, str]:
        """See `Runner`."""
        return dict(await self._ask("describe"))

    async def _ask(self, method: str, *arguments: Any) -> Any:
        # A connection that the runner closed for idleness while the request was on its way costs one more try.
        for is_last in (False, True):
            try:
                return await getattr(self._proxy(), method)(*arguments)
            except (aiohttp.ClientError, TimeoutError, BentoMLException, OSError) as error:
                if is_last or not isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
                    break
        raise unavailable("The model does not answer just now; send the request again shortly.")
