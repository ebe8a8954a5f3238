"""Measures the cells of the gateway's benchmark: the rate of answers, their latency and their processor time."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.cells import resumed
from benchmarks.null_servers import NullServer
from testing.http_load import Request, closed_loop, photos, rate
from testing.server_meter import cpu_s

WAKE_UP_S, WARM_UP_S = 0.15, 0.5
PHOTOS = 8


@dataclass(frozen=True)
class Load:
    """What is sent.

    Attributes:
        size: width and height of the photographs, pixels.
        kind: "json" (v1) or "raw" (v2, the file as the body).
        callers: the number of concurrent callers.
    """

    size: tuple[int, int]
    kind: str
    callers: int


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        load: what was sent.
        server: the name of the server.
        workers: the number of its workers.
        round: the number of the round, from 0.
        per_s: 200 answers per second.
        p50_ms: the median latency, ms.
        cpu_us: the processor time of all the server's processes for one answer, µs.
    """

    load: Load
    server: str
    workers: int
    round: int
    per_s: float
    p50_ms: float
    cpu_us: float


class Bench:
    """Measures cells and keeps them.

    Args:
        seconds: the time of each cell.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.cells: list[Cell] = []
        self._files: dict[tuple[int, int], list[bytes]] = {}

    def warm_up(self, server: NullServer, loads: Sequence[Load]) -> None:
        """Send each kind of request for a while, check that each answer is a 200, and suspend the server."""
        for size, kind in dict.fromkeys((load.size, load.kind) for load in loads):
            if _takes(server, kind):
                self._answers(server, self._requests(server, size, kind), 8, WARM_UP_S)
        server.running.suspend()

    def rounds(self, servers: Sequence[NullServer], loads: Sequence[Load], rounds: int) -> None:
        """Measure every server under every load, in every round, in a changing order."""
        for number in range(rounds):
            for load in loads:
                # The order changes, so that a machine that slows down favours neither.
                for server in servers[:: 1 if number % 2 == 0 else -1]:
                    if _takes(server, load.kind) and (load.callers > 1 or server.workers == 1):
                        self._measure(server, load, number)

    def of(self, load: Load, server: str, workers: int = 1) -> list[Cell]:
        """Return the cells of a server under a load, one for each round."""
        wanted = (load, server, workers)
        return [cell for cell in self.cells if (cell.load, cell.server, cell.workers) == wanted]

    def median(self, field: str, load: Load, server: str, workers: int = 1) -> float | None:
        """Return the median over the rounds of a field of `Cell`; None if it was not measured."""
        cells = self.of(load, server, workers)
        return statistics.median(getattr(cell, field) for cell in cells) if cells else None

    def differences_us(self, load: Load, one: str, other: str) -> list[float]:
        """Return, for each round, the processor time for an answer of one server minus that of the other, µs."""
        pairs = zip(self.of(load, one), self.of(load, other), strict=True)
        return [mine.cpu_us - theirs.cpu_us for mine, theirs in pairs]

    def _measure(self, server: NullServer, load: Load, number: int) -> None:
        requests = self._requests(server, load.size, load.kind)
        with resumed(server.running, WAKE_UP_S):
            per_s, p50_ms, cpu_us = self._answers(server, requests, load.callers, self.seconds)
        self.cells.append(Cell(load, server.name, server.workers, number, per_s, p50_ms, cpu_us))
        described = f"{'x'.join(map(str, load.size)):8} {load.kind:5} {load.callers:3} callers"
        workers = f"{server.workers} worker{'s' if server.workers > 1 else ''}"
        print(
            f"  round {number + 1} {described}  {server.name:14} {workers:9} "
            f"{per_s:7.0f}/s  p50 {p50_ms:6.1f} ms  {cpu_us:6.0f} µs",
            flush=True,
        )

    def _requests(self, server: NullServer, size: tuple[int, int], kind: str) -> list[Request]:
        if size not in self._files:
            self._files[size] = photos(size, PHOTOS)
        return server.requests(kind, self._files[size])

    def _answers(
        self, server: NullServer, requests: Sequence[Request], callers: int, seconds: float
    ) -> tuple[float, float, float]:
        """Send requests, and return answers per second, their p50 in ms, and the processor time for each in µs.

        Raises:
            SystemExit: an answer was not a 200; such answers cost less, and would spoil the figures.
        """
        running = server.running
        before = cpu_s(running.pid)
        samples = closed_loop(running.url, running.key, requests, callers, seconds)
        spent_s = cpu_s(running.pid) - before
        bad = [sample.status for sample in samples if sample.status != 200]
        if bad:
            raise SystemExit(f"ERROR: {server.name} gave {len(bad)} answers other than 200, such as {bad[0]}.")
        p50_ms = float(np.percentile([sample.ms for sample in samples], 50))
        return rate(samples), p50_ms, spent_s / len(samples) * 1e6


def _takes(server: NullServer, kind: str) -> bool:
    return kind != "raw" or server.takes_raw


def every_load(sizes: Sequence[tuple[int, int]], kinds: Sequence[str], callers: Sequence[int]) -> Iterator[Load]:
    """Yield every combination of size, kind and number of callers."""
    for size in sizes:
        for kind in kinds:
            for number in callers:
                yield Load(size, kind, number)
