"""Adaptive batching in process: whenever the engine is free it takes what waits, and waits for nothing more."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from model.engine import Engine, Images, Probabilities


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the model made of some images.

    Attributes:
        probabilities: float32, n x labels.
        infer_ms: how long the model took over the batch they were in.
    """

    probabilities: Probabilities
    infer_ms: float


class Batcher:
    """One engine, fed by many callers. A batch is as large as what came while those before it were computed.

    Args:
        engine: computes up to `engine.streams` batches at a time.
        max_batch: images in a batch; more do not make an engine faster, and make everyone in it wait.
        observe: told the size of every batch.
    """

    def __init__(self, engine: Engine, max_batch: int, observe: Callable[[int], None]) -> None:
        self._engine = engine
        self._max_batch = max_batch
        self._observe = observe
        self._waiting: deque[tuple[Images, asyncio.Future[Predicted]]] = deque()
        self._computing = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(engine.streams, "engine")

    async def predict(self, images: Images) -> Predicted:
        """uint8, n x height x width x 3, with n at most `max_batch`.

        Raises:
            Exception: whatever the engine raises over the batch.
        """
        answer: asyncio.Future[Predicted] = asyncio.get_running_loop().create_future()
        self._waiting.append((images, answer))
        if self._computing < self._engine.streams:
            self._computing += 1
            # Kept, or the event loop might forget it.
            task = asyncio.create_task(self._compute())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _compute(self) -> None:
        """Compute batch after batch until nothing waits."""
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            # At once, not when the task is found to be done: who comes in between would wait for nobody.
            self._computing -= 1

    async def _answer(self, batch: list[tuple[Images, asyncio.Future[Predicted]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            rows, infer_ms = await loop.run_in_executor(self._threads, self._predict, [one for one, _ in batch])
        except Exception as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        first = 0
        for images, answer in batch:
            # A caller whose time was up does not wait any more.
            if not answer.done():
                answer.set_result(Predicted(rows[first : first + len(images)], infer_ms))
            first += len(images)

    def _take(self) -> list[tuple[Images, asyncio.Future[Predicted]]]:
        batch, size = [], 0
        while self._waiting and size + len(self._waiting[0][0]) <= self._max_batch:
            images, answer = self._waiting.popleft()
            if not answer.done():
                batch.append((images, answer))
                size += len(images)
        if batch:
            self._observe(size)
        return batch

    def _predict(self, parts: list[Images]) -> tuple[Probabilities, float]:
        started = time.perf_counter()
        rows = self._engine.predict(parts[0] if len(parts) == 1 else np.concatenate(parts))
        return rows, (time.perf_counter() - started) * 1000
