"""The runner as a BentoML service of its own. Imported only where it is one: its client takes long to load."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import numpy as np
from bentoml.exceptions import BentoMLException
from numpy.typing import NDArray

from inference.batcher import Predicted
from inference.fair_queue import FairSlots
from inference.runner import parts
from model.engine import Description
from web.problem import unavailable


class RemoteRunner:
    """The runner as a BentoML service of its own, which batches what all callers send.

    Args:
        proxy: gives BentoML's asynchronous client of it, which is there once the worker has started.
        max_batch: the most images that it takes at a time.
    """

    def __init__(self, proxy: Callable[[], Any], max_batch: int) -> None:
        self._proxy = proxy
        self._max_batch = max_batch
        # BentoML's queue there knows no users: it gets what fills its next two batches, and the rest waits here.
        self._turns = FairSlots(2 * max_batch)

    async def predict(self, images: NDArray[np.uint8], user: str) -> Predicted:
        """See `Runner`."""
        rows = np.concatenate(
            await asyncio.gather(*(self._predict(part, user) for part in parts(images, self._max_batch)))
        )
        return Predicted(rows[:, :-1], float(rows[:, -1].max()))

    async def describe(self) -> Description:
        """See `Runner`."""
        return Description(**await self._ask("describe"))

    async def _predict(self, images: NDArray[np.uint8], user: str) -> NDArray[np.float32]:
        await self._turns.acquire(user)
        try:
            rows: NDArray[np.float32] = await self._ask("predict", images)
            return rows
        finally:
            self._turns.release()

    async def _ask(self, method: str, *arguments: Any) -> Any:
        # A connection that the runner closed for idleness while the request was on its way costs one more try.
        for is_last in (False, True):
            try:
                return await getattr(self._proxy(), method)(*arguments)
            except (aiohttp.ClientError, TimeoutError, BentoMLException, OSError) as error:
                if is_last or not isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
                    break
        raise unavailable("The model does not answer just now; send the request again shortly.", kind="runner")
