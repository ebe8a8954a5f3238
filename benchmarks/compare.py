"""Compares this server with other servers and with the machine without any server: `python -m benchmarks.compare`.

Every cell (a server and a number of callers) is measured in every round, in a changing order. The engine alone is
measured before and after each cell. The other servers are suspended meanwhile, since some of them poll. Tables show
medians over the rounds. Ratios are taken within a round, after each rate was divided by that of the engine alone.
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

from benchmarks import compared_servers
from benchmarks.cells import Bench
from benchmarks.compared_servers import ComparedServer
from benchmarks.fidelity import fidelity
from benchmarks.machine_limit import MachineLimit
from benchmarks.tables import CALLERS, machine, report
from testing.checkpoints import save_resnet18
from testing.http_load import closed_loop, photos
from testing.servers import PROJECT, run_prepare

USUAL, LARGE = (500, 375), (3000, 2000)
OPEN_LOADS = (0.5, 0.7, 0.9)
WARM_UP_S = 2.0


def check_answers(running: Sequence[ComparedServer], files: Sequence[bytes]) -> None:
    """Check that the servers give the same first label to the same photographs.

    Raises:
        SystemExit: they differ for more than a quarter of the photographs.
    """
    labels_by_photo: dict[str, list[str]] = {}
    for server in running:
        headers = {"Authorization": f"Bearer {server.key}"}
        for number, request in enumerate(server.requests(files)):
            content = {"Content-Type": request.content_type}
            answer = httpx.post(server.url + request.path, content=request.body, headers=headers | content, timeout=60)
            assert answer.status_code == 200, f"{server.name}: {answer.text}"
            labels_by_photo.setdefault(str(number), []).append(server.labels(answer.content)[0])
    wrong = {number: labels for number, labels in labels_by_photo.items() if len(set(labels)) > 1}
    # In bf16 two nearly equal labels may change places; the tutorial computes in float32.
    if len(wrong) > len(files) // 4:
        raise SystemExit(f"ERROR: the servers do not agree: {wrong}")


def run(rounds: int, seconds: float, precision: str, peers: bool) -> Bench:
    """Start all servers and measure every cell.

    Args:
        rounds: the number of rounds.
        seconds: the time of each cell.
        precision: of the engine; "auto": the one that measuring chooses.
        peers: whether LitServe and MLServer take part.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        save_resnet18(folder / "resnet-18", trained_logit=10.0)
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
        limit = MachineLimit(model, precision, len(os.sched_getaffinity(0)))
        precision = limit.alone.precision
        running: list[ComparedServer] = []

        def start(server: ComparedServer) -> None:
            stack.callback(server.end)
            running.append(server)

        start(compared_servers.ours(folder / "ours", models, settings, with_auth=True))
        start(compared_servers.ours(folder / "no-auth", models, settings, with_auth=False))
        start(compared_servers.tutorial(folder, folder / "resnet-18"))
        if peers:
            start(compared_servers.litserve(folder, model, precision))
            start(compared_servers.mlserver(folder, model, precision))
        usual, large = photos(USUAL, 8), photos(LARGE, 4)
        check_answers(running, usual)
        bench = Bench(limit, seconds, fidelity(running[0], folder / "resnet-18", precision))
        for server in running:
            closed_loop(server.url, server.key, server.requests(usual), 8, WARM_UP_S)
            server.suspend()
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            _round(bench, running, number, usual, large)
        ours = running[0]
        capacity = statistics.median(cell.per_s for cell in bench.of("json", ours.name, 32))
        for load in OPEN_LOADS:
            bench.open(ours, usual, load, capacity, bench.baseline(usual))
        return bench


def _round(
    bench: Bench, running: Sequence[ComparedServer], number: int, usual: list[bytes], large: list[bytes]
) -> None:
    # The order changes, so that a machine that slows down favours nobody.
    turned = [*running[number % len(running) :], *running[: number % len(running)]]
    baseline = bench.baseline(usual)
    for callers in CALLERS:
        for server in turned:
            bench.measure("json", server, usual, callers, number, baseline)
    for server in turned:
        if server.name in ("ours", "tutorial"):
            bench.measure("3000x2000", server, large, 8, number, baseline)
        if server.name == "ours":
            raw = ComparedServer(**{**vars(server), "requests": compared_servers.raw_requests})
            bench.measure("raw body", raw, usual, 32, number, baseline)


def main() -> None:
    """Measure, print the tables, and save them with all measurements in `var/bench/`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each cell")
    parser.add_argument("--precision", choices=["auto", "f32", "bf16"], default="auto")
    parser.add_argument("--no-peers", action="store_true", help="without LitServe and MLServer")
    arguments = parser.parse_args()
    peers = compared_servers.peers_are_installed() and not arguments.no_peers
    if not peers:
        print("LitServe and MLServer are left out; 'make bench-extras' installs them.")
    bench = run(arguments.rounds, arguments.seconds, arguments.precision, peers)
    precision = bench.limit.alone.precision
    table = report(bench, precision)
    compared_servers.EXTRAS.mkdir(parents=True, exist_ok=True)
    kept = compared_servers.EXTRAS / time.strftime(f"compare-{precision}-%Y%m%d-%H%M%S")
    measured = {"machine": machine(), "precision": precision, "cells": [asdict(cell) for cell in bench.cells]}
    kept.with_suffix(".json").write_text(json.dumps(measured, indent=1))
    kept.with_suffix(".md").write_text(table + "\n")
    print(f"\n{table}\n\nKept in {kept.relative_to(PROJECT)}.md and .json.")


if __name__ == "__main__":
    main()
