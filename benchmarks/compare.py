"""This server beside the limit of the machine and the servers of others: `python -m benchmarks.compare`.

Every cell (a server, a number of callers) is measured in every round, in a changing order, between two looks at how
fast the engine alone is just then; the other servers are suspended meanwhile, since some of them poll. Tables show
medians over the rounds; ratios are taken within a round, each rate by what the engine alone did just then.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import httpx

from benchmarks import contenders
from benchmarks.cells import Bench
from benchmarks.contenders import Contender
from benchmarks.fidelity import fidelity
from benchmarks.limit import Limit
from benchmarks.tables import CALLERS, machine, report
from testing.checkpoints import save_resnet18
from testing.http_load import closed_loop, photos
from testing.servers import PROJECT, run_prepare

USUAL, LARGE = (500, 375), (3000, 2000)
OPEN_LOADS = (0.5, 0.7, 0.9)
WARM_UP_S = 2.0


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


def run(rounds: int, seconds: float, precision: str, peers: bool) -> Bench:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        save_resnet18(folder / "resnet-18", taught=10.0)
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
            stack.callback(contender.end)
            running.append(contender)

        start(contenders.ours(folder / "ours", models, settings, gate=True))
        start(contenders.ours(folder / "bare", models, settings, gate=False))
        start(contenders.tutorial(folder, folder / "resnet-18"))
        if peers:
            start(contenders.litserve(folder, model, precision))
            start(contenders.mlserver(folder, model, precision))
        usual, large = photos(USUAL, 8), photos(LARGE, 4)
        check_answers(running, usual)
        bench = Bench(limit, seconds, fidelity(running[0], folder / "resnet-18", precision))
        for contender in running:
            closed_loop(contender.url, contender.key, contender.requests(usual), 8, WARM_UP_S)
            contender.suspend()
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            _round(bench, running, number, usual, large)
        ours = running[0]
        capacity = statistics.median(cell.per_s for cell in bench.of("json", ours.name, 32))
        for load in OPEN_LOADS:
            bench.open(ours, usual, load, capacity, bench.floor(usual))
        return bench


def _round(bench: Bench, running: Sequence[Contender], number: int, usual: list[bytes], large: list[bytes]) -> None:
    # The order changes, so that a machine that slows down favours nobody.
    turned = [*running[number % len(running) :], *running[: number % len(running)]]
    floor = bench.floor(usual)
    for callers in CALLERS:
        for contender in turned:
            bench.measure("json", contender, usual, callers, number, floor)
    for contender in turned:
        if contender.name in ("ours", "tutorial"):
            bench.measure("3000x2000", contender, large, 8, number, floor)
        if contender.name == "ours":
            raw = Contender(**{**vars(contender), "requests": contenders.raw_requests})
            bench.measure("raw body", raw, usual, 32, number, floor)


def main() -> None:
    """Measure, print the tables, and keep them with every measurement under `var/bench/`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each cell")
    parser.add_argument("--precision", choices=["auto", "f32", "bf16"], default="auto")
    parser.add_argument("--no-peers", action="store_true", help="leave LitServe and MLServer out")
    arguments = parser.parse_args()
    peers = contenders.peers_are_installed() and not arguments.no_peers
    if not peers:
        print("LitServe and MLServer are left out; 'make bench-extras' installs them.")
    bench = run(arguments.rounds, arguments.seconds, arguments.precision, peers)
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
