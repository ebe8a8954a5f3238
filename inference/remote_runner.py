"""Calls a runner that is a separate BentoML service. Imported only for such a runner: BentoML's client loads slowly."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import numpy as np
from bentoml.exceptions import BentoMLException
from numpy.typing import NDArray

from inference.batcher import Predicted
from inference.fair_queue import FairSlots
from inference.runner import split
from model.engine import Description
from web.problem import unavailable


class RemoteRunner:
    """Calls a runner that is a separate BentoML service, which batches the images of all gateway workers.

    Args:
        proxy: returns BentoML's asynchronous client of the runner, which exists once the worker has started.
        max_batch: the most images that the runner takes in one call.
    """

    def __init__(self, proxy: Callable[[], Any], max_batch: int) -> None:
        self.description: Description | None = None
        self._proxy = proxy
        self._max_batch = max_batch
        # BentoML's queue in the runner does not know users. So it gets only enough for its next two batches; the rest
        # waits here, where users take turns.
        self._slots = FairSlots(2 * max_batch)

    async def predict(self, images: NDArray[np.uint8], user: str) -> Predicted:
        """See `Runner`."""
        rows = np.concatenate(
            await asyncio.gather(*(self._predict(part, user) for part in split(images, self._max_batch)))
        )
        return Predicted(rows[:, :-1], float(rows[:, -1].max()))

    async def describe(self) -> Description:
        """See `Runner`."""
        return Description(**await self._call("describe"))

    async def warm_up(self, blank: NDArray[np.uint8]) -> None:
        """Do nothing: several gateways share the runner, and one can't know that no caller waits."""

    async def _predict(self, images: NDArray[np.uint8], user: str) -> NDArray[np.float32]:
        await self._slots.acquire(user)
        try:
            rows: NDArray[np.float32] = await self._call("predict", images)
            return rows
        finally:
            self._slots.release()

    async def _call(self, method: str, *arguments: Any) -> Any:
        # Try once more: the runner may have closed an idle connection while the request was on its way.
        for is_last in (False, True):
            try:
                return await getattr(self._proxy(), method)(*arguments)
            except (aiohttp.ClientError, TimeoutError, BentoMLException, OSError) as error:
                if is_last or not isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
                    break
        raise unavailable("The model does not answer just now; send the request again shortly.", kind="runner")
