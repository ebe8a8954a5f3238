"""How fast engines are, measured in turns and in short rounds, so that a machine that is busy for a moment decides
nothing: what counts is the best round of each, and who is clearly slower is measured no more.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from model.engine import Engine, Images

Clock = Callable[[], float]
Key = TypeVar("Key", bound=Hashable)

ROUND_S = 0.1
FEWEST_ROUNDS, MOST_ROUNDS = 3, 6
# A way that is slower than this share of the fastest after two rounds is measured no more.
HOPELESS = 0.7


@dataclass(frozen=True)
class Load:
    """What is measured: an engine kept busy.

    Attributes:
        engine: what computes.
        batch: uint8, n x height x width x 3.
        together: one batch at a time with all threads; else one on each stream.
    """

    engine: Engine
    batch: Images
    together: bool = False

    def images_per_s(self, clock: Clock, seconds: float = ROUND_S) -> float:
        """Images a second over so long, and over one batch on each stream at least."""
        streams = 1 if self.together else self.engine.streams
        started = clock()

        def work(_: int) -> int:
            done = 0
            while not done or clock() < started + seconds:
                self.engine.predict(self.batch, together=self.together or streams == 1)
                done += len(self.batch)
            return done

        if streams == 1:
            total = work(0)
        else:
            with ThreadPoolExecutor(streams) as pool:
                total = sum(pool.map(work, range(streams)))
        return total / max(clock() - started, 1e-9)


@dataclass
class Timer:
    """The time that all of a measurement may take.

    Args:
        seconds: how long.
        clock: tells the time, in seconds.
    """

    seconds: float
    clock: Clock = time.perf_counter
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.started + self.seconds - self.clock()

    def is_over(self) -> bool:
        """Whether none are."""
        return self.left_s <= 0

    def part(self, seconds: float) -> "Timer":
        """A timer for a part of it."""
        return Timer(max(0.0, min(seconds, self.left_s)), self.clock)


def fastest_rounds(loads: Mapping[Key, Load], timer: Timer) -> dict[Key, float]:
    """Images a second of each load in its best round, measured in turns.

    Each has `FEWEST_ROUNDS`, which may take as long again as the timer says, unless it is clearly slower than another.
    """
    best = {name: 0.0 for name in loads}
    for load in loads.values():
        # The first batch of a size is slow: what computes it is made then.
        load.images_per_s(timer.clock, seconds=0)
    racing = list(loads)
    for number in range(MOST_ROUNDS):
        for name in racing[:: 1 if number % 2 == 0 else -1]:
            best[name] = max(best[name], loads[name].images_per_s(timer.clock))
        is_enough = number + 1 >= FEWEST_ROUNDS
        if timer.left_s <= -timer.seconds or (is_enough and (timer.is_over() or len(racing) == 1)):
            break
        if number >= 1:
            racing = [name for name in racing if best[name] > HOPELESS * max(best.values())]
    return best


def least_s(images: int, per_s: float) -> float:
    """The seconds that measuring a load takes at least, of so many images in a batch on every stream."""
    return (1 + FEWEST_ROUNDS) * max(images / per_s, ROUND_S)


def blank(size: int, height: int, width: int) -> Images:
    """A batch of noise: how fast an engine is depends on no pixel, but for zeros a processor may know shortcuts."""
    return np.random.default_rng(0).integers(0, 256, (size, height, width, 3), np.uint8)
