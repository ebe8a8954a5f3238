"""The batcher of the embedded runner: every caller gets its own rows, and nobody is forgotten."""

import asyncio
import threading
import time

import numpy as np
import pytest

from inference.batcher import LOOK_EVERY_S, Batcher, Predicted
from inference.runner import EmbeddedRunner
from model.engine import Description, Images, Probabilities
from testing.waiting import PATIENCE_S, eventually

MAX_BATCH = 4


class Engine:
    """Answers with the first pixel of each image.

    Attributes:
        computed: of each batch, how many images, and whether all threads computed it together.
        may_end: a batch ends once it is set.
        met: whether all streams were busy at once.
    """

    name, precision = "test", "f32"

    def __init__(self, streams: int = 1) -> None:
        self.streams = streams
        self.computed: list[tuple[int, bool]] = []
        self.may_end = threading.Event()
        self.may_end.set()
        self.met = False
        self._meeting = threading.Barrier(streams)

    def predict(self, images: Images, together: bool = True) -> Probabilities:
        self.computed.append((len(images), together))
        assert self.may_end.wait(PATIENCE_S)
        if not together and self.streams > 1 and not self.met:
            self._meeting.wait(PATIENCE_S)
            self.met = True
        if (images == 255).any():
            raise RuntimeError("spoilt")
        return images[:, 0, 0, :1].astype(np.float32)


def image(value: int, number: int = 1) -> Images:
    return np.full((number, 1, 1, 3), value, np.uint8)


def rows(predicted: Predicted) -> list[float]:
    return [float(row[0]) for row in predicted.probabilities]


def test_who_asks_again_at_once_is_answered() -> None:
    """It comes when the last batch is done, and before anybody else could know of it."""

    async def run() -> None:
        batcher = Batcher(Engine(), MAX_BATCH, lambda _: None)
        async with asyncio.timeout(PATIENCE_S):
            for value in range(100):
                assert rows(await batcher.predict(image(value))) == [value]

    asyncio.run(run())


def test_each_caller_gets_its_own() -> None:
    sizes: list[int] = []

    async def run() -> None:
        batcher = Batcher(Engine(), MAX_BATCH, sizes.append)

        async def call(value: int) -> None:
            for turn in range(300):
                number = 1 + (value + turn) % 3
                assert rows(await batcher.predict(image(value, number))) == [value] * number
                for _ in range(turn % 4):
                    await asyncio.sleep(0)

        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(call(value) for value in range(8)))

    asyncio.run(run())
    assert max(sizes) <= MAX_BATCH
    assert sum(sizes) == sum(1 + (value + turn) % 3 for value in range(8) for turn in range(300))


def test_what_waits_while_the_engine_is_busy_is_one_batch() -> None:
    sizes: list[int] = []

    async def run() -> None:
        batcher = Batcher(Engine(), MAX_BATCH, sizes.append)
        await asyncio.gather(*(batcher.predict(image(value)) for value in range(7)))

    asyncio.run(run())
    assert sizes == [4, 3]


def test_a_lone_image_has_all_threads_and_many_have_a_stream_each() -> None:
    engine = Engine(streams=2)

    async def run() -> None:
        batcher = Batcher(engine, MAX_BATCH, lambda _: None)
        answers = await asyncio.gather(*(batcher.predict(image(value)) for value in range(1)))
        answers += await asyncio.gather(*(batcher.predict(image(value)) for value in range(1, 8)))
        answers.append(await batcher.predict(image(8)))
        assert [rows(answer) for answer in answers] == [[value] for value in range(9)]

    asyncio.run(run())
    first, *both, rest, last = engine.computed
    # The streams begin in either order.
    assert (first, sorted(both), rest, last) == ((1, True), [(2, False), (4, False)], (1, False), (1, True))
    assert engine.met


def test_nothing_starts_beside_what_has_all_threads() -> None:
    engine = Engine(streams=2)
    engine.may_end.clear()

    async def run() -> None:
        batcher = Batcher(engine, MAX_BATCH, lambda _: None)
        lone = asyncio.create_task(batcher.predict(image(1)))
        await eventually(lambda: engine.computed, "the first batch begins")
        later = [asyncio.create_task(batcher.predict(image(value))) for value in (2, 3)]
        await asyncio.sleep(0.05)
        assert engine.computed == [(1, True)]
        engine.may_end.set()
        await asyncio.gather(lone, *later)

    asyncio.run(run())
    assert engine.computed == [(1, True), (1, False), (1, False)]


@pytest.mark.parametrize(
    ("streams", "computed", "waiting", "in_advance"),
    [
        (2, 2, 1, []),
        (2, 2, 2, [2]),
        (2, 4, 2, []),
        (2, 4, 3, [3]),
        # The engine takes one more than it has streams, and of no more than the largest size.
        (2, 4, 20, [MAX_BATCH]),
        (1, 1, 1, [1]),
        (1, 4, 3, []),
        (4, 4, 20, [MAX_BATCH, MAX_BATCH]),
    ],
)
def test_a_batch_is_given_in_advance_once_its_share_of_all_images_waits(
    streams: int, computed: int, waiting: int, in_advance: list[int]
) -> None:
    engine = Engine(streams)
    engine.met = True
    engine.may_end.clear()

    async def run() -> None:
        batcher = Batcher(engine, MAX_BATCH, lambda _: None)
        callers = []
        for stream in range(streams):
            callers.append(asyncio.create_task(batcher.predict(image(0, computed))))
            await eventually(lambda: len(engine.computed) == stream + 1, "one more stream is busy")  # noqa: B023
        callers += [asyncio.create_task(batcher.predict(image(value))) for value in range(waiting)]
        await eventually(lambda: len(engine.computed) == streams + len(in_advance), "the engine has its batches")
        await asyncio.sleep(0.05)
        assert engine.computed == [(size, False) for size in [computed] * streams + in_advance]
        engine.may_end.set()
        await asyncio.gather(*callers)

    asyncio.run(run())


def test_who_comes_while_a_batch_waits_in_advance_is_next() -> None:
    """The user of that batch, who has more images, has been served all the time."""
    engine, sizes = Engine(), list[int]()
    engine.may_end.clear()

    async def run() -> None:
        batcher = Batcher(engine, MAX_BATCH, sizes.append)
        many = [asyncio.create_task(batcher.predict(image(1, MAX_BATCH), "many")) for _ in range(4)]
        await eventually(lambda: len(engine.computed) == 2, "a batch is computed, and one waits in advance")
        one = asyncio.create_task(batcher.predict(image(2), "one"))
        await asyncio.sleep(0)
        engine.may_end.set()
        await asyncio.gather(*many, one)

    asyncio.run(run())
    assert sizes == [MAX_BATCH, MAX_BATCH, 1, MAX_BATCH, MAX_BATCH]


def test_the_wait_of_a_batch_in_advance_is_no_time_in_the_engine() -> None:
    class OneAtATime(Engine):
        def predict(self, images: Images, together: bool = True) -> Probabilities:
            with turn:
                time.sleep(0.02 if self.computed else 0)
                return super().predict(images, together)

    async def run() -> list[Predicted]:
        batcher = Batcher(OneAtATime(), MAX_BATCH, lambda _: None)
        return await asyncio.gather(*(batcher.predict(image(value, MAX_BATCH)) for value in range(5)))

    turn = threading.Lock()
    began = time.perf_counter()
    predicted = asyncio.run(run())
    assert 0 < sum(one.infer_ms for one in predicted) <= (time.perf_counter() - began) * 1000


def test_who_gave_up_takes_no_place_and_an_error_reaches_its_batch_alone() -> None:
    sizes: list[int] = []
    engine = Engine()
    engine.may_end.clear()

    async def run() -> None:
        batcher = Batcher(engine, MAX_BATCH, sizes.append)
        first = asyncio.create_task(batcher.predict(image(1)))
        await eventually(lambda: engine.computed, "the first batch begins")
        gone = asyncio.create_task(batcher.predict(image(2)))
        spoilt = asyncio.create_task(batcher.predict(image(255)))
        await asyncio.sleep(0)
        gone.cancel()
        engine.may_end.set()
        with pytest.raises(RuntimeError):
            await spoilt
        assert rows(await first) == [1]
        assert rows(await batcher.predict(image(3))) == [3]

    asyncio.run(run())
    assert sizes == [1, 1, 1]


def test_a_batch_in_advance_waits_until_nobody_else_does() -> None:
    engine = Engine(streams=2)
    engine.may_end.clear()

    async def run() -> None:
        batcher = Batcher(engine, MAX_BATCH, lambda _: None)
        lone = asyncio.create_task(batcher.predict(image(1)))
        await eventually(lambda: engine.computed, "the first batch begins")
        blank = asyncio.create_task(batcher.compute_when_idle(image(0, 3)))
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert engine.computed == [(1, True)]
        # It takes one stream, and leaves the other to who comes meanwhile.
        engine.met = True
        engine.may_end.set()
        await blank
        assert rows(await lone) == [1]

    asyncio.run(run())
    assert engine.computed == [(1, True), (3, False)]


@pytest.mark.parametrize(("images_per_s", "computed"), [(1000.0, [2, 2, 4, 4]), (30.0, [2, 2]), (5.0, [])])
def test_each_stream_computes_each_size_in_advance_but_none_that_takes_long(
    images_per_s: float, computed: list[int]
) -> None:
    engine = Engine(streams=2)
    engine.met = True
    runner = EmbeddedRunner(engine, Description("test", "f32", images_per_s), MAX_BATCH, lambda _: None)
    asyncio.run(runner.warm_up(image(0)))
    assert engine.computed == [(size, False) for size in computed]
