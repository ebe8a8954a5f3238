"""Writes the results of the gateway's benchmark as tables in Markdown."""

import statistics
import subprocess
from collections.abc import Sequence

from benchmarks.gateway_cells import Bench, Load
from benchmarks.tables import machine
from testing.servers import PROJECT


def commit() -> str:
    """Return the measured commit, with `-dirty` if the checkout has other changes."""
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def heading(bench: Bench, rounds: int) -> str:
    """Return a line on the machine, the commit and the number of rounds."""
    where = ", ".join(f"{name}: {value}" for name, value in {**machine(), "commit": commit()}.items())
    return (
        f"{where}. A model that does nothing; the callers share the cores. "
        f"Medians of {rounds} round{'s' if rounds > 1 else ''} of {bench.seconds:g} s."
    )


def servers(bench: Bench) -> str:
    """Return a table for each size and kind of request: a row for each server, a column for each number of callers."""
    loads = list(dict.fromkeys(cell.load for cell in bench.cells))
    lines = ["Each cell: requests/s, p50 in ms, processor time of the server for a request in µs."]
    for size, kind in dict.fromkeys((load.size, load.kind) for load in loads):
        columns = [load for load in loads if (load.size, load.kind) == (size, kind)]
        lines += ["", _head(f"{size[0]} x {size[1]}, {kind}", [_callers(load) for load in columns])]
        measured = dict.fromkeys((cell.server, cell.workers) for cell in bench.cells if cell.load in columns)
        for server, workers in measured:
            name = server if workers == 1 else f"{server}, {workers} workers"
            lines.append(_row(name, [_cell(bench, load, server, workers) for load in columns]))
    return "\n".join(lines)


def layers(bench: Bench, chain: Sequence[tuple[str, str, str | None]]) -> str:
    """Return a table of processor time for a request, µs: a row for each layer, a column for each load.

    Args:
        bench: the measurements.
        chain: for each layer its description, the server with it, and the server without it (None: nothing is left).
    """
    loads = list(dict.fromkeys(cell.load for cell in bench.cells))
    lines = [
        "µs of the server's processor time for a request: the time of the server with the layer minus that of the "
        "server without it in the same round; the median of the rounds, and in brackets the least and the most.",
        "",
        _head("layer", [f"{load.size[0]} x {load.size[1]}, {load.kind}, {_callers(load)}" for load in loads]),
    ]
    for what, with_it, without_it in chain:
        found = [
            bench.differences_us(load, with_it, without_it)
            if without_it is not None
            else [cell.cpu_us for cell in bench.of(load, with_it)]
            for load in loads
        ]
        lines.append(_row(what, [_spread(of_load) for of_load in found]))
    _, whole, _ = chain[0]
    lines.append(_row("**all together**", [_spread([cell.cpu_us for cell in bench.of(load, whole)]) for load in loads]))
    return "\n".join(lines)


def _callers(load: Load) -> str:
    return f"{load.callers} caller{'s' if load.callers > 1 else ''}"


def _head(first: str, columns: Sequence[str]) -> str:
    return _row(first, columns) + "\n" + _row("---", ["---"] * len(columns))


def _row(first: str, columns: Sequence[str]) -> str:
    return f"| {first} | " + " | ".join(columns) + " |"


def _cell(bench: Bench, load: Load, server: str, workers: int) -> str:
    per_s = bench.median("per_s", load, server, workers)
    p50_ms = bench.median("p50_ms", load, server, workers)
    cpu_us = bench.median("cpu_us", load, server, workers)
    return "–" if per_s is None else f"{per_s:.0f}, {p50_ms:.1f}, {cpu_us:.0f}"


def _spread(of_rounds: Sequence[float]) -> str:
    median = f"{statistics.median(of_rounds):.0f}"
    return median if len(of_rounds) == 1 else f"{median} ({min(of_rounds):.0f} to {max(of_rounds):.0f})"
