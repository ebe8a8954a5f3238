"""Adaptive batching in process: whenever the engine is free it takes what waits, and waits for nothing more."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from inference.fair_queue import FairQueue
from model.engine import Engine, Images, Probabilities

Waiting = tuple[Images, asyncio.Future["Predicted"]]
# The rows of a batch, and how many milliseconds they took.
Timed = tuple[Probabilities, float]


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

    Where fewer images wait than the engine has streams, all its threads compute them together, so that a lone caller
    waits least. Where there are more, each stream has a batch of its own: its threads then wait for no others, and one
    that has to leave its core for a moment holds up nobody.

    Args:
        engine: what computes.
        max_batch: images in a batch; more do not make an engine faster, and make everyone in it wait.
        observe: told the size of every batch.
    """

    def __init__(self, engine: Engine, max_batch: int, observe: Callable[[int], None]) -> None:
        self._engine = engine
        self._max_batch = max_batch
        self._observe = observe
        self._waiting: FairQueue[Waiting] = FairQueue()
        self._waiting_images = 0
        self._free = engine.streams
        self._is_due = False
        self._threads = ThreadPoolExecutor(engine.streams, "engine")

    async def predict(self, images: Images, user: str = "") -> Predicted:
        """uint8, n x height x width x 3, with n at most `max_batch`, for a user, who takes turns with others.

        Raises:
            Exception: whatever the engine raises over the batch.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Predicted] = loop.create_future()
        self._waiting.put(user, (images, answer))
        self._waiting_images += len(images)
        if not self._is_due:
            # Not at once: what comes in the same turn of the event loop is company.
            self._is_due = True
            loop.call_soon(self._dispatch)
        return await answer

    def _dispatch(self) -> None:
        """Have what waits computed, as far as there are free streams."""
        self._is_due = False
        loop, streams = asyncio.get_running_loop(), self._engine.streams
        while self._free and (waiting := self._waiting_images):
            together = self._free == streams and (waiting < streams or streams == 1)
            taken = streams if together else 1
            # Each stream's share, also where only one is free: the next will be soon.
            batch = self._take(waiting if together else math.ceil(waiting / streams))
            if not batch:
                return
            self._free -= taken
            computed = loop.run_in_executor(self._threads, self._predict, [one for one, _ in batch], together)
            computed.add_done_callback(partial(self._answer, batch, taken))

    def _take(self, share: int) -> list[Waiting]:
        batch: list[Waiting] = []
        size, most = 0, min(share, self._max_batch)
        while self._waiting and (not batch or size + len(self._waiting.peek()[0]) <= most):
            images, answer = self._waiting.get()
            self._waiting_images -= len(images)
            # A caller whose time was up does not wait any more.
            if not answer.done():
                batch.append((images, answer))
                size += len(images)
        if batch:
            self._observe(size)
        return batch

    def _answer(self, batch: Sequence[Waiting], taken: int, computed: asyncio.Future[Timed]) -> None:
        # The engine's next batch first: the answers' callers have time.
        self._free += taken
        self._dispatch()
        error = computed.exception()
        if error is not None:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        rows, infer_ms = computed.result()
        first = 0
        for images, answer in batch:
            if not answer.done():
                answer.set_result(Predicted(rows[first : first + len(images)], infer_ms))
            first += len(images)

    def _predict(self, parts: list[Images], together: bool) -> Timed:
        started = time.perf_counter()
        rows = self._engine.predict(parts[0] if len(parts) == 1 else np.concatenate(parts), together)
        return rows, (time.perf_counter() - started) * 1000
