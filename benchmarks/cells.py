"""Measures the cells of the comparison: one server with one number of callers in one round."""

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
        server: the name of the server.
        callers: the number of concurrent callers; 0: an open loop.
        round: the number of the round, from 0.
        per_s: 200 answers per second.
        p50, p95, p99: latency, ms.
        bad: the number of answers other than 200.
        engine_before, engine_after: images/s of the engine alone, before and after this measurement.
        limit: images/s without any server, in the same round.
        limit_engine: images/s of the engine alone, the mean of before and after that.
        alone_ms: the time to decode and compute one image without any server, in the same round, ms.
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
        """images/s of the engine alone, the mean of before and after this measurement."""
        return (self.engine_before + self.engine_after) / 2

    @property
    def per_engine(self) -> float:
        """The rate divided by that of the engine alone, so that a machine whose speed drifts does not spoil ratios."""
        return self.per_s / self.engine


@dataclass(frozen=True)
class Baseline:
    """What the machine does without any server, measured in each round; for the attributes see `Cell`."""

    limit: float
    limit_engine: float
    alone_ms: float


class Bench:
    """Measures cells and keeps them.

    Args:
        limit: measures the machine without any server.
        seconds: the time of each cell in a closed loop.
        fidelity: how exact the answers of this project's server are.
    """

    def __init__(self, limit: MachineLimit, seconds: float, fidelity: Fidelity) -> None:
        self.limit = limit
        self.seconds = seconds
        self.fidelity = fidelity
        self.cells: list[Cell] = []
        # Measured after each cell; the next one begins at once.
        self._engine_now = self.limit.engine_per_s()

    def baseline(self, files: Sequence[bytes]) -> Baseline:
        """Measure the machine without any server."""
        alone_ms = self.limit.one_ms(files)
        before = self.limit.engine_per_s()
        limit = self.limit.images_per_s(files, self.seconds)
        self._engine_now = self.limit.engine_per_s()
        return Baseline(limit, (before + self._engine_now) / 2, alone_ms)

    def measure(
        self, case: str, server: ComparedServer, files: Sequence[bytes], callers: int, number: int, baseline: Baseline
    ) -> None:
        """Measure a cell in a closed loop; `number` is that of the round."""
        requests = server.requests(files)
        with resumed(server):
            samples = closed_loop(server.url, server.key, requests, callers, self.seconds)
        cell = self._keep(case, server, callers, number, samples, self._engine_before_and_now(), baseline)
        print(
            f"  {case:14} {server.name:14} {callers:3} callers {cell.per_s:7.1f}/s  "
            f"p50 {cell.p50:6.1f}  p99 {cell.p99:6.1f} ms",
            flush=True,
        )

    def open(
        self, server: ComparedServer, files: Sequence[bytes], load: float, capacity: float, baseline: Baseline
    ) -> None:
        """Measure an open loop at the share `load` of the capacity (requests/s), for twice the usual time."""
        with resumed(server):
            samples = open_loop(server.url, server.key, server.requests(files), load * capacity, 2 * self.seconds)
        self._keep(f"open, {load:.0%}", server, 0, 0, samples, self._engine_before_and_now(), baseline)

    def _engine_before_and_now(self) -> tuple[float, float]:
        """Measure the engine alone, and return images/s as before and as now."""
        before, self._engine_now = self._engine_now, self.limit.engine_per_s()
        return before, self._engine_now

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
        """Return the cells of all rounds."""
        return [cell for cell in self.cells if (cell.case, cell.server, cell.callers) == (case, server, callers)]

    def ratio(self, case: str, callers: int, one: str, other: str) -> float:
        """Return the median over the rounds of one server's rate divided by the other's, both as `per_engine`."""
        pairs = zip(self.of(case, one, callers), self.of(case, other, callers), strict=True)
        return statistics.median(mine.per_engine / theirs.per_engine for mine, theirs in pairs)

    def ratio_to_limit(self, case: str, callers: int, server: str) -> float:
        """Return the median over the rounds of a server's rate divided by the rate without any server, likewise."""
        cells = self.of(case, server, callers)
        return statistics.median(cell.per_engine / (cell.limit / cell.limit_engine) for cell in cells)


@contextmanager
def resumed(server: ComparedServer, within_s: float = WAKE_UP_S) -> Iterator[None]:
    """Resume a suspended server for a block.

    It waits `within_s` first, so that the work that the server has put off is done before it is measured.
    """
    server.resume()
    time.sleep(within_s)
    try:
        yield
    finally:
        server.suspend()
