"""Compares latency with and without the noisy neighbour.

It sends in turns, so that a machine that slows down in the meantime favours neither side.
"""

import math
from collections.abc import Iterable

from loadtests.record import Outcome, Sample, percentile

TURN_S = 5.0
# Requests due so soon after a turn began are not counted: they may wait behind requests of the turn before.
SETTLE_S = 1.0


def is_noisy(at_s: float) -> bool:
    """Tell whether the neighbour sends at this time, seconds after the start."""
    return int(at_s // TURN_S) % 2 == 1


def p99_ratio(samples: Iterable[Sample], began: float) -> float:
    """Return the p99 of steady callers in turns with the neighbour, divided by that without; NaN if one is unknown."""
    turns: dict[bool, list[float]] = {True: [], False: []}
    for sample in samples:
        at_s = sample.due - began
        if sample.who == "steady" and sample.outcome is Outcome.EXPECTED and at_s % TURN_S >= SETTLE_S:
            turns[is_noisy(at_s)].append(sample.ms)
    noisy, quiet = (percentile(turns[kind], 0.99) for kind in (True, False))
    return noisy / quiet if quiet > 0 else math.nan
