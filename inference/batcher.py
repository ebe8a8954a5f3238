"""Batches images adaptively, in process: an engine that becomes free takes all that waits, and never waits for more."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from inference.fair_queue import FairQueue
from model.engine import Engine, Images, Probabilities
from runtime.loop_threads import LoopThreads

# How often `compute_when_idle` looks whether the engine is idle.
LOOK_EVERY_S = 0.1
# The probabilities of a batch, float32, n x labels, and the milliseconds that the engine took.
TimedProbabilities = tuple[Probabilities, float]


class Predicted(NamedTuple):
    """The model's answer for some images.

    Attributes:
        probabilities: float32, n x labels.
        infer_ms: milliseconds that the model took for the whole batch that the images were part of.
    """

    probabilities: Probabilities
    infer_ms: float


class _Waiting(NamedTuple):
    """The images of one call of `predict`, and the future of its answer."""

    images: Images
    answer: asyncio.Future[Predicted]


class Batcher:
    """Feeds one engine with the images of many callers. A batch holds what arrived while earlier ones were computed.

    If fewer images wait than the engine has streams, one batch uses all threads of the engine: that is the shortest
    time for a single caller. If more wait, each stream computes a batch of its own: the threads of a stream then never
    wait for those of another, so a thread that loses its core for a moment delays no other stream.

    Args:
        engine: computes the batches.
        max_batch: the most images in a batch. Larger batches make an engine no faster, and all their callers wait.
        observe: called with the size of each batch.
    """

    def __init__(self, engine: Engine, max_batch: int, observe: Callable[[int], None]) -> None:
        self._engine = engine
        self._max_batch = max_batch
        self._observe = observe
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._waiting_images = 0
        self._free_streams = engine.streams
        self._is_scheduled = False
        self._threads = LoopThreads(engine.streams, "engine")

    async def predict(self, images: Images, user: str = "") -> Predicted:
        """Compute the probabilities of some images. Users take turns.

        Args:
            images: uint8, n x height x width x 3, with n at most `max_batch`.
            user: whose turn the images take.

        Raises:
            Exception: whatever the engine raises for the batch.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Predicted] = loop.create_future()
        self._queue.put(user, _Waiting(images, answer))
        self._waiting_images += len(images)
        if not self._is_scheduled:
            # Not at once: images that arrive in the same turn of the event loop join the batch.
            self._is_scheduled = True
            loop.call_soon(self._dispatch)
        return await answer

    async def compute_when_idle(self, images: Images) -> None:
        """Compute a batch on one stream once no image waits and no batch is computed; nobody needs its answer."""
        while self._waiting_images or self._free_streams < self._engine.streams:
            await asyncio.sleep(LOOK_EVERY_S)
        nobody = _Waiting(images, asyncio.get_running_loop().create_future())
        self._start([nobody], on_all_threads=False)
        await nobody.answer

    def _dispatch(self) -> None:
        """Start batches as long as images wait and streams are free."""
        self._is_scheduled = False
        streams = self._engine.streams
        while self._free_streams and self._waiting_images:
            on_all_threads = self._free_streams == streams and (self._waiting_images < streams or streams == 1)
            if on_all_threads:
                batch = self._take_batch(self._waiting_images)
            else:
                # An equal share for each stream, even if only one is free now: the others are free soon.
                batch = self._take_batch(math.ceil(self._waiting_images / streams))
            if batch:
                self._start(batch, on_all_threads)

    def _take_batch(self, share: int) -> list[_Waiting]:
        """Take from the queue about `share` images, at most `max_batch`, and at least one caller's."""
        batch: list[_Waiting] = []
        size, most = 0, min(share, self._max_batch)
        while self._queue and (not batch or size + len(self._queue.peek().images) <= most):
            waiting = self._queue.get()
            self._waiting_images -= len(waiting.images)
            # A caller that was cancelled, for example by its time limit, does not wait any more.
            if not waiting.answer.done():
                batch.append(waiting)
                size += len(waiting.images)
        if batch:
            self._observe(size)
        return batch

    def _start(self, batch: Sequence[_Waiting], on_all_threads: bool) -> None:
        streams = self._engine.streams if on_all_threads else 1
        self._free_streams -= streams
        images = [waiting.images for waiting in batch]
        computed = self._threads.run(self._compute, images, on_all_threads)
        computed.add_done_callback(partial(self._finish, batch, streams))

    def _finish(self, batch: Sequence[_Waiting], streams: int, computed: asyncio.Future[TimedProbabilities]) -> None:
        self._free_streams += streams
        # Before the answers are given out, so that the engine does not idle meanwhile.
        self._dispatch()
        error = computed.exception()
        if error is None:
            _give_out(batch, *computed.result())
            return
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)

    def _compute(self, images: list[Images], on_all_threads: bool) -> TimedProbabilities:
        """Compute one batch; runs in a thread."""
        started = time.perf_counter()
        joined = images[0] if len(images) == 1 else np.concatenate(images)
        probabilities = self._engine.predict(joined, on_all_threads)
        return probabilities, (time.perf_counter() - started) * 1000


def _give_out(batch: Sequence[_Waiting], probabilities: Probabilities, infer_ms: float) -> None:
    """Give each caller the rows of its own images."""
    first = 0
    for images, answer in batch:
        end = first + len(images)
        if not answer.done():
            answer.set_result(Predicted(probabilities[first:end], infer_ms))
        first = end
