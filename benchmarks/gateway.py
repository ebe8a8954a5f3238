"""Measures what the gateway costs, with a model that does nothing: `python -m benchmarks.gateway [--layers] [--quick]`.

Without `--layers`, it compares this server, with and without keys, limits and usage log, with a BentoML service and a
Starlette app that only classify, LitServe and MLServer, all with this project's decoder. With `--layers`, it removes
one layer after the other from this server, down to Starlette. The cost of a layer is the processor time of the server
with it minus that of the server without it.

Every cell is measured in every round, in a changing order, while the other servers are suspended. The processor time
is that of all processes of a server, without the callers.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks import gateway_tables, null_servers
from benchmarks.compared_servers import EXTRAS
from benchmarks.gateway_cells import Bench, Load, every_load
from benchmarks.layers import LAYERS
from benchmarks.null_servers import LITSERVE, MLSERVER, NullServer
from benchmarks.tables import machine
from testing.servers import PROJECT, run_prepare

SMALL, USUAL = (64, 64), (500, 375)
SERVERS_UNDER = list(every_load((SMALL, USUAL), ("json", "raw"), (1, 8, 32)))
LAYERS_UNDER = [Load(SMALL, "json", 1), Load(SMALL, "json", 32), Load(SMALL, "raw", 32), Load(USUAL, "json", 32)]
# With these times, either takes less than eight minutes with three rounds.
SERVERS_S, LAYERS_S = 1.0, 1.5
QUICK_S = 0.5

Start = Callable[[], NullServer]


def servers(folder: Path, models: Path, model: Path) -> Iterable[Start]:
    """Yield a function for each compared server, which starts it."""
    yield partial(null_servers.ours, folder / "ours", models, "ours")
    yield partial(null_servers.ours, folder / "ours-2", models, "ours", workers=2)
    yield partial(null_servers.ours_without_auth, folder / "no-auth", models)
    for workers in (1, 2):
        yield partial(null_servers.bentoml, folder, model, workers)
        yield partial(null_servers.starlette, folder, model, workers)
    for name, start in ((LITSERVE, null_servers.litserve), (MLSERVER, null_servers.mlserver)):
        if null_servers.is_installed(name):
            yield partial(start, folder, model)
        else:
            print(f"{name} is not installed and not measured; 'make bench-extras' installs it.")


def servers_with_fewer_layers(folder: Path, models: Path, model: Path) -> Iterable[Start]:
    """Yield a function for each server between ours and Starlette, which starts it."""
    for number in range(len(LAYERS) + 1):
        yield partial(null_servers.ours, folder / f"without-{number}", models, _name_without(number), LAYERS[:number])
    yield partial(null_servers.bentoml, folder, model, path="/nothing")
    yield partial(null_servers.starlette, folder, model, path="/nothing")


def chain() -> list[tuple[str, str, str | None]]:
    """Return for each layer its description, the server with it, and the server without it (None: nothing is left)."""
    ours = [(layer.what, _name_without(number), _name_without(number + 1)) for number, layer in enumerate(LAYERS)]
    return [
        *ours,
        ("the rest of ours: table of routes, minus what it saves BentoML", _name_without(len(LAYERS)), "BentoML"),
        ("BentoML: its middlewares and endpoint", "BentoML", "Starlette"),
        ("HTTP: uvicorn and Starlette, the body read", "Starlette", None),
    ]


def run(bench: Bench, starts: Callable[[Path, Path, Path], Iterable[Start]], loads: list[Load], rounds: int) -> None:
    """Start the servers, and measure them under the loads."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        models = folder / "prepared" / "models"
        prepared = run_prepare(models, CLASSIFIER_OFFLINE_MODEL="only")
        if prepared.returncode != 0:
            raise SystemExit(prepared.stderr)
        [model] = (path.parent for path in models.glob("*/*/openvino.xml"))
        running: list[NullServer] = []
        for start in starts(folder, models, model):
            running.append(start())
            stack.callback(running[-1].running.end)
            bench.warm_up(running[-1], loads)
        bench.rounds(running, loads, rounds)


def main() -> None:
    """Measure, print the tables, and save them with all measurements in `var/bench/`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument(
        "--layers", action="store_true", help="measure what each layer costs, instead of comparing servers"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, help=f"for each cell; {SERVERS_S:g}, and {LAYERS_S:g} with --layers")
    parser.add_argument(
        "--quick", action="store_true", help=f"one round of {QUICK_S:g} s, to check that everything works"
    )
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    usual_s = LAYERS_S if arguments.layers else SERVERS_S
    began = time.monotonic()
    bench = Bench(QUICK_S if arguments.quick else arguments.seconds or usual_s)
    if arguments.layers:
        run(bench, servers_with_fewer_layers, LAYERS_UNDER, rounds)
        table = gateway_tables.layers(bench, chain())
    else:
        run(bench, servers, SERVERS_UNDER, rounds)
        table = gateway_tables.servers(bench)
    _keep(bench, f"{gateway_tables.heading(bench, rounds)} {table}", "layers" if arguments.layers else "servers")
    print(f"It took {time.monotonic() - began:.0f} s.")


def _keep(bench: Bench, report: str, what: str) -> None:
    EXTRAS.mkdir(parents=True, exist_ok=True)
    kept = EXTRAS / time.strftime(f"gateway-{what}-%Y%m%d-%H%M%S")
    cells = [asdict(cell) for cell in bench.cells]
    measured = {"machine": machine(), "commit": gateway_tables.commit(), "cells": cells}
    kept.with_suffix(".json").write_text(json.dumps(measured, indent=1))
    kept.with_suffix(".md").write_text(report + "\n")
    print(f"\n{report}\n\nKept in {kept.relative_to(PROJECT)}.md and .json.")


def _name_without(number: int) -> str:
    return f"ours without {number}"


if __name__ == "__main__":
    main()
