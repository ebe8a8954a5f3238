"""Batches images adaptively, in process: a stream that becomes free takes its share of the waiting images at once."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from inference.turn_queue import TurnQueue
from model.engine import Engine, Images, Probabilities, places
from runtime.loop_threads import LoopThreads

# How often `compute_when_idle` looks whether the engine is idle.
LOOK_EVERY_S = 0.1
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
    """The images of one call of `predict`, whose they are, and the future of its answer."""

    user: str
    images: Images
    answer: asyncio.Future[Predicted]


@dataclass(eq=False, slots=True)
class _Batch:
    """Images that are computed together.

    Attributes:
        waiting: the calls of `predict` that they are from.
        on_all_threads: whether all threads of the engine compute it, or those of one stream.
        waited_until: when a batch that was given in advance got its stream, `time.perf_counter`; 0 for any other batch.
    """

    waiting: Sequence[_Waiting]
    on_all_threads: bool
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

    While all streams are busy, the engine gets the next batches in advance. Otherwise a core would idle for 1 to 6 ms
    after each batch, until the event loop has given out answers and started the next one. Such a batch is as large as
    if all images, those that wait and those that the engine has, were in equal batches, two for each stream.

    Args:
        engine: computes the batches.
        max_batch: the most images in a batch. Larger batches make an engine no faster, and all their callers wait.
        observe: called with the size of each batch.
    """

    def __init__(self, engine: Engine, max_batch: int, observe: Callable[[int], None]) -> None:
        self._engine = engine
        self._max_batch = max_batch
        self._observe = observe
        self._queue: TurnQueue[_Waiting] = TurnQueue()
        self._waiting_images = 0
        # The batches that the engine has, in the order in which it starts them.
        self._given: list[_Batch] = []
        self._given_images = 0
        self._is_scheduled = False
        self._threads = LoopThreads(places(engine.streams), "engine")

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
        self._queue.put(user, _Waiting(user, images, answer))
        self._waiting_images += len(images)
        if not self._is_scheduled:
            # Not at once: images that arrive in the same turn of the event loop join the batch.
            self._is_scheduled = True
            loop.call_soon(self._dispatch)
        return await answer

    async def compute_when_idle(self, images: Images) -> None:
        """Compute a batch on one stream once no image waits and no batch is computed; nobody needs its answer."""
        while self._waiting_images or self._given:
            await asyncio.sleep(LOOK_EVERY_S)
        nobody = _Waiting("", images, asyncio.get_running_loop().create_future())
        self._start([nobody], on_all_threads=False)
        await nobody.answer

    def _dispatch(self) -> None:
        """Give the engine batches as long as images wait and it takes more."""
        self._is_scheduled = False
        while number := self._number_to_give():
            on_all_threads = not self._given and self._waiting_images < self._engine.streams
            if batch := self._take_batch(number):
                self._start(batch, on_all_threads)

    def _number_to_give(self) -> int:
        """Return how many images the engine should get now as one batch; 0: none."""
        given, streams, waiting = len(self._given), self._engine.streams, self._waiting_images
        if not given and waiting < streams:
            return waiting
        if given and self._given[0].on_all_threads:
            return 0
        if given < streams:
            # An equal share for each stream, even if only one is free now: the others are free soon.
            return math.ceil(waiting / streams)
        share = min(self._max_batch, math.ceil((waiting + self._given_images) / (2 * streams)))
        return share if waiting >= share and given < places(streams) else 0

    def _take_batch(self, number: int) -> list[_Waiting]:
        """Take from the queue about that number of images, at most `max_batch`, and at least one caller's."""
        batch: list[_Waiting] = []
        size, most = 0, min(number, self._max_batch)
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
        batch = _Batch(waiting, on_all_threads)
        self._given.append(batch)
        self._given_images += batch.size
        for one in waiting:
            self._queue.begin(one.user)
        computed = self._threads.run(self._compute, [one.images for one in waiting], on_all_threads)
        computed.add_done_callback(partial(self._finish, batch))

    def _finish(self, batch: _Batch, computed: asyncio.Future[TimedProbabilities]) -> None:
        self._given.remove(batch)
        self._given_images -= batch.size
        for one in batch.waiting:
            self._queue.end(one.user)
        error = computed.exception()
        ended = time.perf_counter() if error else computed.result()[2]
        if len(self._given) >= self._engine.streams:
            # The stream that has become free took this one, the first of those that were given in advance.
            self._given[self._engine.streams - 1].waited_until = ended
        # Before the answers are given out, so that the engine does not idle meanwhile.
        self._dispatch()
        if error is not None:
            for waiting in batch.waiting:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        probabilities, began, _ = computed.result()
        _give_out(batch.waiting, probabilities, max(0.0, ended - max(began, batch.waited_until)) * 1000)

    def _compute(self, images: list[Images], on_all_threads: bool) -> TimedProbabilities:
        """Compute one batch; runs in a thread."""
        joined = images[0] if len(images) == 1 else np.concatenate(images)
        began = time.perf_counter()
        probabilities = self._engine.predict(joined, on_all_threads)
        return probabilities, began, time.perf_counter()


def _give_out(batch: Sequence[_Waiting], probabilities: Probabilities, infer_ms: float) -> None:
    """Give each caller the rows of its own images."""
    first = 0
    for _, images, answer in batch:
        end = first + len(images)
        if not answer.done():
            answer.set_result(Predicted(probabilities[first:end], infer_ms))
        first = end
