"""This server beside the limit of the machine and the servers of others: `python -m benchmarks.compare`.

Every cell (a server, a number of callers) is measured in every round, in a changing order, between two looks at how
fast the engine alone is just then. Tables show medians over the rounds; ratios are taken within a round.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.limit import Limit
from benchmarks.load import closed_loop, open_loop, photos, rate
from tests.checkpoints import save_resnet18
from tests.servers import PROJECT, run_prepare

CALLERS = (1, 8, 32, 64)
USUAL, LARGE = (500, 375), (3000, 2000)
OPEN_LOADS = (0.5, 0.7, 0.9)
WARM_UP_S = 2.0


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


class Bench:
    """What was measured so far."""

    def __init__(self, limit: Limit, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.cells: list[Cell] = []
        self.alone_ms = 0.0

    def measure(
        self, case: str, contender: Contender, files: Sequence[bytes], callers: int, number: int, limit: float
    ) -> None:
        requests, before = contender.requests(files), self.limit.engine_per_s()
        samples = closed_loop(contender.url, contender.key, requests, callers, self.seconds)
        after = self.limit.engine_per_s()
        times = [sample.ms for sample in samples]
        p50, p95, p99 = (float(np.percentile(times, share)) for share in (50, 95, 99))
        bad = sum(sample.status != 200 for sample in samples)
        per_s = rate(samples)
        self.cells.append(Cell(case, contender.name, callers, number, per_s, p50, p95, p99, bad, before, after, limit))
        print(
            f"  {case:14} {contender.name:14} {callers:3} callers {per_s:7.1f}/s  p50 {p50:6.1f}  p99 {p99:6.1f} ms",
            flush=True,
        )

    def open(self, contender: Contender, files: Sequence[bytes], load: float, capacity: float, limit: float) -> None:
        """An open loop at a share of the capacity."""
        seconds = 2 * self.seconds
        before = self.limit.engine_per_s()
        samples = open_loop(contender.url, contender.key, contender.requests(files), load * capacity, seconds)
        times = [sample.ms for sample in samples]
        p50, p95, p99 = (float(np.percentile(times, share)) for share in (50, 95, 99))
        bad = sum(sample.status != 200 for sample in samples)
        name = f"open, {load:.0%}"
        after = self.limit.engine_per_s()
        self.cells.append(Cell(name, contender.name, 0, 0, rate(samples), p50, p95, p99, bad, before, after, limit))

    def of(self, case: str, server: str, callers: int) -> list[Cell]:
        return [cell for cell in self.cells if (cell.case, cell.server, cell.callers) == (case, server, callers)]

    def ratio(self, case: str, callers: int, one: str, other: str) -> float:
        """The median over the rounds of one server's rate by the other's."""
        pairs = zip(self.of(case, one, callers), self.of(case, other, callers), strict=True)
        return statistics.median(mine.per_s / theirs.per_s for mine, theirs in pairs)

    def of_limit(self, case: str, callers: int, server: str) -> float:
        """The median over the rounds of a server's rate by the limit of the machine."""
        return statistics.median(cell.per_s / cell.limit for cell in self.of(case, server, callers))


def check_answers(running: Sequence[Contender], files: Sequence[bytes]) -> None:
    """Stop where the servers do not see the same in the same photographs."""
    told: dict[str, list[str]] = {}
    for contender in running:
        headers = {"Authorization": f"Bearer {contender.key}"}
        for number, request in enumerate(contender.requests(files)):
            content = {"Content-Type": request.content_type}
            answer = httpx.post(
                contender.url + request.path, content=request.body, headers=headers | content, timeout=60
            )
            assert answer.status_code == 200, f"{contender.name}: {answer.text}"
            told.setdefault(str(number), []).append(contender.labels(answer.content)[0])
    wrong = {number: labels for number, labels in told.items() if len(set(labels)) > 1}
    # In bf16 a close call may turn; the tutorial computes in float32.
    if len(wrong) > len(files) // 4:
        raise SystemExit(f"ERROR: the servers do not agree: {wrong}")


def machine() -> dict[str, str]:
    """What this was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {"processor": model, "cores": str(len(os.sched_getaffinity(0))), "python": platform.python_version()}


def run(rounds: int, seconds: float, precision: str, peers: bool) -> Bench:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        save_resnet18(folder / "resnet-18")
        settings = {
            "CLASSIFIER_MODEL": str(folder / "resnet-18"),
            "CLASSIFIER_OFFLINE_MODEL": "deny",
            "CLASSIFIER_PRECISION": precision,
        }
        models = folder / "prepared" / "models"
        prepared = run_prepare(models, **settings)
        if prepared.returncode != 0:
            raise SystemExit(prepared.stderr)
        [model] = (path.parent for path in models.glob("*/*/openvino.xml"))
        limit = Limit(model, precision, len(os.sched_getaffinity(0)))
        precision = limit.alone.precision
        running: list[Contender] = []

        def start(contender: Contender) -> None:
            stack.callback(contender.stop)
            running.append(contender)

        start(contenders.ours(folder / "ours", models, settings, gate=True))
        start(contenders.ours(folder / "bare", models, settings, gate=False))
        start(contenders.tutorial(folder, folder / "resnet-18"))
        if peers:
            start(contenders.litserve(folder, model, precision))
            start(contenders.mlserver(folder, model, precision))
        usual, large = photos(USUAL, 8), photos(LARGE, 4)
        check_answers(running, usual)
        bench = Bench(limit, seconds)
        for contender in running:
            closed_loop(contender.url, contender.key, contender.requests(usual), 8, WARM_UP_S)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            _round(bench, running, number, usual, large)
        ours = running[0]
        capacity = statistics.median(cell.per_s for cell in bench.of("json", ours.name, 32))
        for load in OPEN_LOADS:
            bench.open(ours, usual, load, capacity, limit.images_per_s(usual, seconds))
        bench.alone_ms = limit.one_ms(usual)
        return bench


def _round(bench: Bench, running: Sequence[Contender], number: int, usual: list[bytes], large: list[bytes]) -> None:
    # The order changes, so that a machine that slows down favours nobody.
    turned = [*running[number % len(running) :], *running[: number % len(running)]]
    limit = bench.limit.images_per_s(usual, bench.seconds)
    for callers in CALLERS:
        for contender in turned:
            bench.measure("json", contender, usual, callers, number, limit)
    for contender in turned:
        if contender.name in ("ours", "tutorial"):
            bench.measure("3000x2000", contender, large, 8, number, limit)
        if contender.name == "ours":
            raw = Contender(**{**vars(contender), "requests": contenders.raw_requests})
            bench.measure("raw body", raw, usual, 32, number, limit)


def report(bench: Bench, precision: str) -> str:
    """The tables, in Markdown."""
    servers = list(dict.fromkeys(cell.server for cell in bench.cells if cell.case == "json"))
    rounds = 1 + max(cell.round for cell in bench.cells)
    limit = statistics.median(cell.limit for cell in bench.cells)
    where = ", ".join(f"{name}: {value}" for name, value in machine().items())
    heads = " | ".join(f"{callers} callers" for callers in CALLERS)
    lines = [
        f"{where}. ResNet-18 in {precision}, 500 x 375 JPEGs as base64 JSON, medians of {rounds} rounds of "
        f"{bench.seconds:g} s. Each cell: requests/s, p50 / p95 / p99 in ms.",
        "",
        f"Without any server: {limit:.0f} images/s; decoding and running one image alone: {bench.alone_ms:.1f} ms.",
        "",
        f"| server | {heads} | of the limit, at 32 |",
        "| --- |" + " --- |" * (len(CALLERS) + 1),
    ]
    for server in servers:
        cells = [_cell(bench.of("json", server, callers)) for callers in CALLERS]
        lines.append(f"| {server} | " + " | ".join(cells) + f" | {bench.of_limit('json', 32, server):.2f} |")
    lines += ["", "| other cases | req/s, p50 / p95 / p99 ms |", "| --- | --- |"]
    for case, server, callers in dict.fromkeys((cell.case, cell.server, cell.callers) for cell in bench.cells):
        if case != "json":
            callers_ = f", {callers} callers" if callers else ""
            lines.append(f"| {case}, {server}{callers_} | {_cell(bench.of(case, server, callers))} |")
    return "\n".join([*lines, "", *_bars(bench, servers)])


def _cell(cells: Sequence[Cell]) -> str:
    def median(field: str) -> float:
        return statistics.median(getattr(cell, field) for cell in cells)

    return f"{median('per_s'):.1f}, {median('p50'):.0f} / {median('p95'):.0f} / {median('p99'):.0f}"


def _bars(bench: Bench, servers: Sequence[str]) -> list[str]:
    """Each bar that the project sets itself, and whether it holds."""
    p50_alone = statistics.median(cell.p50 for cell in bench.of("json", "ours", 1))
    p50_tutorial = statistics.median(cell.p50 for cell in bench.of("json", "tutorial", 1))
    spread = statistics.median(cell.p99 / cell.p50 for cell in bench.of("json", "ours", 32))
    raw = zip(bench.of("raw body", "ours", 32), bench.of("json", "ours", 32), strict=True)
    bars = [
        ("32 callers, of the limit without a server", bench.of_limit("json", 32, "ours"), 0.85, True),
        ("32 callers, by the tutorial", bench.ratio("json", 32, "ours", "tutorial"), 4.5, True),
        ("32 callers, p99 by p50", spread, 1.6, False),
        ("1 caller, p50 by decoding and running alone", p50_alone / bench.alone_ms, 1.35, False),
        ("1 caller, the tutorial's p50 by ours", p50_tutorial / p50_alone, 3.0, True),
        ("3000 x 2000, by the tutorial", bench.ratio("3000x2000", 8, "ours", "tutorial"), 5.0, True),
        ("raw bodies by JSON", statistics.median(one.per_s / other.per_s for one, other in raw), 1.0, True),
        ("answers that were no 200", float(sum(cell.bad for cell in bench.cells)), 0.0, False),
    ]
    for peer in ("LitServe", "MLServer"):
        if peer in servers:
            bars.append((f"32 callers, by {peer}", bench.ratio("json", 32, "ours", peer), 1.0, True))
    lines = ["| bar | measured | wanted | |", "| --- | --- | --- | --- |"]
    for name, measured, wanted, at_least in bars:
        held = measured >= wanted if at_least else measured <= wanted
        sign = "≥" if at_least else "≤"
        lines.append(f"| {name} | {measured:.2f} | {sign} {wanted:g} | {'holds' if held else 'MISSED'} |")
    return lines


def main() -> None:
    """Measure, print the tables, and keep them with every measurement under `var/bench/`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each cell")
    parser.add_argument("--precision", choices=["auto", "f32", "bf16"], default="auto")
    parser.add_argument("--no-peers", action="store_true", help="leave LitServe and MLServer out")
    arguments = parser.parse_args()
    bench = run(arguments.rounds, arguments.seconds, arguments.precision, not arguments.no_peers)
    precision = bench.limit.alone.precision
    table = report(bench, precision)
    contenders.EXTRAS.mkdir(parents=True, exist_ok=True)
    kept = contenders.EXTRAS / time.strftime(f"compare-{precision}-%Y%m%d-%H%M%S")
    measured = {"machine": machine(), "precision": precision, "cells": [asdict(cell) for cell in bench.cells]}
    kept.with_suffix(".json").write_text(json.dumps(measured, indent=1))
    kept.with_suffix(".md").write_text(table + "\n")
    print(f"\n{table}\n\nKept in {kept.relative_to(PROJECT)}.md and .json.")


if __name__ == "__main__":
    main()
