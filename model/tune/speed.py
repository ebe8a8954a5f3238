"""Measures how fast engines are, in short rounds and in turns, so that a moment of other load changes no result.

The best round of each engine counts. An engine that is clearly slower is not measured again.
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
# After two rounds, whatever is slower than this share of the fastest is not measured again.
TOO_SLOW = 0.7


@dataclass(frozen=True)
class Load:
    """Keeps an engine busy, and measures its speed.

    Attributes:
        engine: the engine.
        batch: uint8, n x height x width x 3.
        together: True: one batch at a time with all threads; False: one batch on each stream at the same time.
    """

    engine: Engine
    batch: Images
    together: bool = False

    def images_per_s(self, clock: Clock, seconds: float = ROUND_S) -> float:
        """Measure images per second for that number of seconds, and for at least one batch on each stream."""
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
    """Limits the time of a measurement.

    Args:
        seconds: the limit.
        clock: returns the time in seconds.
    """

    seconds: float
    clock: Clock = time.perf_counter
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def left_s(self) -> float:
        """Return the seconds that are left; negative after the limit."""
        return self.started + self.seconds - self.clock()

    def is_over(self) -> bool:
        """Tell whether no time is left."""
        return self.left_s <= 0

    def extend_to(self, seconds: float) -> None:
        """Extend the limit so that at least that number of seconds is left."""
        self.seconds += max(0.0, seconds - self.left_s)

    def part(self, seconds: float) -> "Timer":
        """Make a timer for a part of the time that is left."""
        return Timer(max(0.0, min(seconds, self.left_s)), self.clock)


def best_rounds(loads: Mapping[Key, Load], timer: Timer) -> dict[Key, float]:
    """Measure images per second of each load in turns, and return that of its best round.

    Each load has at least `FEWEST_ROUNDS`, unless it is clearly slower than another. To complete them, the measurement
    may take up to twice the timer's seconds.
    """
    best = {name: 0.0 for name in loads}
    for load in loads.values():
        # The first batch of a size is slow, and is not counted: the engine allocates and compiles for it.
        load.images_per_s(timer.clock, seconds=0)
    remaining = list(loads)
    for number in range(MOST_ROUNDS):
        for name in remaining[:: 1 if number % 2 == 0 else -1]:
            best[name] = max(best[name], loads[name].images_per_s(timer.clock))
        is_enough = number + 1 >= FEWEST_ROUNDS
        if timer.left_s <= -timer.seconds or (is_enough and (timer.is_over() or len(remaining) == 1)):
            break
        if number >= 1:
            remaining = [name for name in remaining if best[name] > TOO_SLOW * max(best.values())]
    return best


def min_seconds(images: int, per_s: float) -> float:
    """Return the fewest seconds that measuring a load takes, for that number of images per round."""
    return (1 + FEWEST_ROUNDS) * max(images / per_s, ROUND_S)


def noise(size: int, height: int, width: int) -> Images:
    """Make a batch of noise. The speed of an engine depends on no pixel, but processors may be faster on zeros."""
    return np.random.default_rng(0).integers(0, 256, (size, height, width, 3), np.uint8)
