"""The cells of the comparison: one server, so many callers, measured in every round."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass

import numpy as np

from benchmarks.compared_servers import ComparedServer
from benchmarks.fidelity import Fidelity
from benchmarks.machine_limit import MachineLimit
from testing.http_load import Sample, closed_loop, open_loop, rate

WAKE_UP_S = 0.5


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        case: what was sent.
        server: who answered.
        callers: how many at once; 0: an open loop.
        round: which round.
        per_s: answers of 200 a second.
        p50, p95, p99: ms.
        bad: answers that were no 200.
        engine_before, engine_after: images/s of the engine alone.
        limit: images/s without any server, in the same round.
        limit_engine: images/s of the engine alone, around that.
        alone_ms: decoding and running one image without any server, in the same round.
    """

    case: str
    server: str
    callers: int
    round: int
    per_s: float
    p50: float
    p95: float
    p99: float
    bad: int
    engine_before: float
    engine_after: float
    limit: float
    limit_engine: float
    alone_ms: float

    @property
    def engine(self) -> float:
        """images/s of the engine alone, around this measurement."""
        return (self.engine_before + self.engine_after) / 2

    @property
    def per_engine(self) -> float:
        """The rate as a share of what the engine alone did around it: what is compared on a machine that drifts."""
        return self.per_s / self.engine


@dataclass(frozen=True)
class Baseline:
    """What a round's measurements are held against: the machine without any server."""

    limit: float
    limit_engine: float
    alone_ms: float


class Bench:
    """What was measured so far."""

    def __init__(self, limit: MachineLimit, seconds: float, fidelity: Fidelity) -> None:
        self.limit = limit
        self.seconds = seconds
        self.fidelity = fidelity
        self.cells: list[Cell] = []

    def baseline(self, files: Sequence[bytes]) -> Baseline:
        """The machine without any server, now."""
        before = self.limit.engine_per_s()
        limit = self.limit.images_per_s(files, self.seconds)
        return Baseline(limit, (before + self.limit.engine_per_s()) / 2, self.limit.one_ms(files))

    def measure(
        self, case: str, server: ComparedServer, files: Sequence[bytes], callers: int, number: int, baseline: Baseline
    ) -> None:
        """A closed loop of so many callers."""
        requests, before = server.requests(files), self.limit.engine_per_s()
        with resumed(server):
            samples = closed_loop(server.url, server.key, requests, callers, self.seconds)
        after = self.limit.engine_per_s()
        cell = self._keep(case, server, callers, number, samples, (before, after), baseline)
        print(
            f"  {case:14} {server.name:14} {callers:3} callers {cell.per_s:7.1f}/s  "
            f"p50 {cell.p50:6.1f}  p99 {cell.p99:6.1f} ms",
            flush=True,
        )

    def open(
        self, server: ComparedServer, files: Sequence[bytes], load: float, capacity: float, baseline: Baseline
    ) -> None:
        """An open loop at a share of the capacity."""
        before = self.limit.engine_per_s()
        with resumed(server):
            samples = open_loop(server.url, server.key, server.requests(files), load * capacity, 2 * self.seconds)
        self._keep(f"open, {load:.0%}", server, 0, 0, samples, (before, self.limit.engine_per_s()), baseline)

    def _keep(
        self,
        case: str,
        server: ComparedServer,
        callers: int,
        number: int,
        samples: Sequence[Sample],
        engine: tuple[float, float],
        baseline: Baseline,
    ) -> Cell:
        times = [sample.ms for sample in samples]
        p50, p95, p99 = (float(np.percentile(times, share)) for share in (50, 95, 99))
        bad = sum(sample.status != 200 for sample in samples)
        self.cells.append(
            Cell(case, server.name, callers, number, rate(samples), p50, p95, p99, bad, *engine, *astuple(baseline))
        )
        return self.cells[-1]

    def of(self, case: str, server: str, callers: int) -> list[Cell]:
        return [cell for cell in self.cells if (cell.case, cell.server, cell.callers) == (case, server, callers)]

    def ratio(self, case: str, callers: int, one: str, other: str) -> float:
        """The median over the rounds of one server's rate by the other's, each by what the engine did around it."""
        pairs = zip(self.of(case, one, callers), self.of(case, other, callers), strict=True)
        return statistics.median(mine.per_engine / theirs.per_engine for mine, theirs in pairs)

    def ratio_to_limit(self, case: str, callers: int, server: str) -> float:
        """The median over the rounds of a server's rate by the limit of the machine, likewise."""
        cells = self.of(case, server, callers)
        return statistics.median(cell.per_engine / (cell.limit / cell.limit_engine) for cell in cells)


@contextmanager
def resumed(server: ComparedServer, within_s: float = WAKE_UP_S) -> Iterator[None]:
    """Have it answer for a while, and have what it put off behind it before it is measured."""
    server.resume()
    time.sleep(within_s)
    try:
        yield
    finally:
        server.suspend()
