"""Batches images adaptively, in process: a stream that becomes free takes its share of the waiting images at once."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from inference.fair_queue import FairQueue
from model.engine import Engine, Images, Probabilities
from runtime.loop_threads import LoopThreads

# How often `compute_when_idle` looks whether the engine is idle.
LOOK_EVERY_S = 0.1
# The share of the usual time of a full batch after which the next one is given to the engine in advance. Images of
# other users that arrive later wait for it.
IN_ADVANCE_AFTER = 0.8
# The probabilities of a batch, float32, n x labels, and when computing it began and ended, `time.perf_counter`.
TimedProbabilities = tuple[Probabilities, float, float]


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


@dataclass(slots=True)
class _Batch:
    """Images that are computed together.

    Attributes:
        waiting: the calls of `predict` that they are from.
        places: how many of the engine's places it takes: there is one for each stream, and one for a batch in advance.
        waited_until: when a batch in advance got its stream, `time.perf_counter`; 0 for any other batch.
    """

    waiting: Sequence[_Waiting]
    places: int
    waited_until: float = 0.0

    @property
    def size(self) -> int:
        """The number of images."""
        return sum(len(one.images) for one in self.waiting)


class Batcher:
    """Feeds one engine with the images of many callers. A batch holds what arrived while earlier ones were computed.

    If fewer images wait than the engine has streams, one batch uses all threads of the engine: that is the shortest
    time for a single caller. If more wait, each stream computes a batch of its own: the threads of a stream then never
    wait for those of another, so a thread that loses its core for a moment delays no other stream.

    If so many images wait that all streams will have full batches next, one of these is given to the engine shortly
    before a stream becomes free. Otherwise that stream's core would idle for 1 to 6 ms, until the event loop has given
    out answers and started the next batch.

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
        self._taken_places = 0
        self._in_advance: _Batch | None = None
        self._full_batch_s: float | None = None
        self._is_scheduled = False
        self._threads = LoopThreads(engine.streams + 1, "engine")

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
        while self._waiting_images or self._taken_places:
            await asyncio.sleep(LOOK_EVERY_S)
        nobody = _Waiting(images, asyncio.get_running_loop().create_future())
        self._start([nobody], on_all_threads=False)
        await nobody.answer

    def _dispatch(self) -> None:
        """Start batches as long as images wait and streams are free."""
        self._is_scheduled = False
        streams = self._engine.streams
        while self._waiting_images and self._taken_places < streams:
            on_all_threads = self._taken_places == 0 and self._waiting_images < streams
            # An equal share for each stream, even if only one is free now: the others are free soon.
            share = self._waiting_images if on_all_threads else math.ceil(self._waiting_images / streams)
            if batch := self._take_batch(share):
                self._start(batch, on_all_threads)

    def _give_in_advance(self) -> None:
        """Give the engine one more batch if all streams are busy, and each will have a full batch next."""
        streams = self._engine.streams
        if self._taken_places != streams or self._waiting_images < streams * self._max_batch:
            return
        if batch := self._take_batch(self._max_batch):
            self._start(batch, on_all_threads=False)

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

    def _start(self, waiting: Sequence[_Waiting], on_all_threads: bool) -> None:
        streams = self._engine.streams
        batch = _Batch(waiting, streams + 1 if on_all_threads else 1)
        if self._taken_places == streams:
            self._in_advance = batch
        else:
            self._plan_next(batch)
        self._taken_places += batch.places
        computed = self._threads.run(self._compute, [one.images for one in waiting], on_all_threads)
        computed.add_done_callback(partial(self._finish, batch))

    def _plan_next(self, batch: _Batch) -> None:
        """Have `_give_in_advance` called shortly before this batch should end; a stream has begun it."""
        if batch.size >= self._max_batch and self._full_batch_s is not None:
            asyncio.get_running_loop().call_later(IN_ADVANCE_AFTER * self._full_batch_s, self._give_in_advance)

    def _finish(self, batch: _Batch, computed: asyncio.Future[TimedProbabilities]) -> None:
        self._taken_places -= batch.places
        error = computed.exception()
        ended = time.perf_counter() if error else computed.result()[2]
        if self._in_advance is not None:
            # The stream that has become free took it.
            self._in_advance.waited_until = ended
            self._plan_next(self._in_advance)
            self._in_advance = None
        # Before the answers are given out, so that the engine does not idle meanwhile.
        self._dispatch()
        if error is not None:
            for waiting in batch.waiting:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        probabilities, began, _ = computed.result()
        infer_s = max(0.0, ended - max(began, batch.waited_until))
        if batch.size >= self._max_batch:
            self._full_batch_s = infer_s
        _give_out(batch.waiting, probabilities, infer_s * 1000)

    def _compute(self, images: list[Images], on_all_threads: bool) -> TimedProbabilities:
        """Compute one batch; runs in a thread."""
        joined = images[0] if len(images) == 1 else np.concatenate(images)
        began = time.perf_counter()
        probabilities = self._engine.predict(joined, on_all_threads)
        return probabilities, began, time.perf_counter()


def _give_out(batch: Sequence[_Waiting], probabilities: Probabilities, infer_ms: float) -> None:
    """Give each caller the rows of its own images."""
    first = 0
    for images, answer in batch:
        end = first + len(images)
        if not answer.done():
            answer.set_result(Predicted(probabilities[first:end], infer_ms))
        first = end
