"""When the noisy neighbour is noisy: in turns, so that a machine that slows down meanwhile favours neither side."""

import math
from collections.abc import Iterable

from loadtests.record import Outcome, Sample, percentile

TURN_S = 5.0
# What was asked so soon after a change may wait behind what was asked before it.
SETTLE_S = 1.0


def is_noisy(at_s: float) -> bool:
    """Whether it is, so many seconds after the start."""
    return int(at_s // TURN_S) % 2 == 1


def p99_ratio(samples: Iterable[Sample], began: float) -> float:
    """The p99 of steady callers beside the noisy one, by their p99 without it; NaN where one of them is missing."""
    turns: dict[bool, list[float]] = {True: [], False: []}
    for sample in samples:
        at_s = sample.due - began
        if sample.who == "steady" and sample.outcome is Outcome.EXPECTED and at_s % TURN_S >= SETTLE_S:
            turns[is_noisy(at_s)].append(sample.ms)
    noisy, quiet = (percentile(turns[kind], 0.99) for kind in (True, False))
    return noisy / quiet if quiet > 0 else math.nan
