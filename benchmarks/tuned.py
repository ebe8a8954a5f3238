"""Compares what `auto` chose with the best of a full search: `python -m benchmarks.tuned [--model NAME ...]`.

It measures the engine alone, for a ResNet-18, the stand-in and a ViT-B/16. The search tries every allowed precision
with all numbers of threads and streams and several batch sizes, in turns with the choice, and takes the best of several
rounds of each.
"""

import argparse
import itertools
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.prepared_models import MODELS, prepare
from model import choices, openvino_engine
from model.configuration import Choice, Configuration
from model.devices import chosen_engine
from model.loading import load
from model.tune.speed import Load, noise
from runtime.machine import cores

WANTED = 0.95
ROUND_S, ROUNDS = 0.3, 6
# Larger batches of a slow model are not tried: a round of them would take minutes.
LONGEST_ROUND_S = 2.0
SIZES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    """Measure, and print the ratio for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuned", description=__doc__)
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    for name in arguments.model or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            _compare(name, Path(folder), arguments.rounds)


def _compare(name: str, folder: Path, rounds: int) -> None:
    prepared, settings = prepare(name, folder, tune="auto")
    choice = choices.find(prepared, settings)
    assert choice is not None, "preparing a model ends with a choice"
    chosen = replace(choice.configuration, resize="exact")
    grid = list(dict.fromkeys([chosen, *_grid(choice)]))
    engines = {}
    for one in grid:
        shape = replace(one, batch_size=1)
        if shape not in engines:
            engines[shape] = load(prepared, chosen_engine(settings), one)
    recipe = prepared.recipe
    loads = {
        one: Load(engines[replace(one, batch_size=1)], noise(one.batch_size, recipe.height, recipe.width))
        for one in grid
    }
    best = dict.fromkeys(grid, 0.0)
    for number in range(1 + rounds):
        print(f"{name}: {len(grid)} configurations, round {number} of {rounds} ...", file=sys.stderr, flush=True)
        for one in grid[:: 1 if number % 2 else -1]:
            per_s = loads[one].images_per_s(time.perf_counter, ROUND_S if number else 0)
            # Round 0 does not count: the first batch of a size creates what later ones use.
            best[one] = max(best[one], per_s if number else 0.0)
    found = max(best, key=lambda one: best[one])
    print(f"{name}: chosen {_describe(chosen)} at {best[chosen]:.1f} images/s ({choice.why})")
    print(f"{name}: search {_describe(found)} at {best[found]:.1f} images/s")
    print(f"{name}: ratio {best[chosen] / best[found]:.3f} (wanted: at least {WANTED})", flush=True)


def _grid(choice: Choice) -> list[Configuration]:
    refused = {row.configuration.precision for row in choice.table if row.verdict.startswith("not exact enough")}
    precisions = [
        one for one in openvino_engine.precisions() if one not in refused or one == choice.configuration.precision
    ]
    slowest = min(row.images_per_s for row in choice.table)
    shapes = [
        (threads, streams)
        for threads in range(1, cores() + 1)
        for streams in range(1, threads + 1)
        if threads % streams == 0
    ]
    return [
        Configuration(precision, "exact", threads, streams, size)
        for precision, (threads, streams), size in itertools.product(precisions, shapes, SIZES)
        if size * streams / slowest <= LONGEST_ROUND_S
    ]


def _describe(one: Configuration) -> str:
    return f"{one.precision}, {one.threads} threads, {one.streams} streams, batches of {one.batch_size}"


if __name__ == "__main__":
    main()
