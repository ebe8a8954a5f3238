"""Writes the results of the comparison as tables in Markdown: a row for each server, and a row for each requirement."""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cells import Bench, Cell

CALLERS = (1, 8, 32, 64)


def machine() -> dict[str, str]:
    """Return the processor, the number of cores and the version of Python."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {"processor": model, "cores": str(len(os.sched_getaffinity(0))), "python": platform.python_version()}


def report(bench: Bench, precision: str) -> str:
    """Return the tables in Markdown."""
    servers = list(dict.fromkeys(cell.server for cell in bench.cells if cell.case == "json"))
    rounds = 1 + max(cell.round for cell in bench.cells)
    limit = statistics.median(cell.limit for cell in bench.cells)
    alone = statistics.median(cell.alone_ms for cell in bench.cells)
    where = ", ".join(f"{name}: {value}" for name, value in machine().items())
    heads = " | ".join(f"{callers} callers" for callers in CALLERS)
    lines = [
        f"{where}. ResNet-18 in {precision}, 500 x 375 JPEGs as base64 JSON, medians of {rounds} rounds of "
        f"{bench.seconds:g} s. Each cell: requests/s, p50 / p95 / p99 in ms.",
        "",
        f"Without any server: {limit:.0f} images/s; decoding and computing one image alone: {alone:.1f} ms.",
        "",
        f"| server | {heads} | of the machine without a server, at 32 |",
        "| --- |" + " --- |" * (len(CALLERS) + 1),
    ]
    for server in servers:
        cells = [_cell(bench.of("json", server, callers)) for callers in CALLERS]
        lines.append(f"| {server} | " + " | ".join(cells) + f" | {bench.ratio_to_limit('json', 32, server):.2f} |")
    lines += ["", "| other cases | req/s, p50 / p95 / p99 ms |", "| --- | --- |"]
    for case, server, callers in dict.fromkeys((cell.case, cell.server, cell.callers) for cell in bench.cells):
        if case != "json":
            callers_ = f", {callers} callers" if callers else ""
            lines.append(f"| {case}, {server}{callers_} | {_cell(bench.of(case, server, callers))} |")
    return "\n".join([*lines, "", *_requirements(bench, servers)])


def _cell(cells: Sequence[Cell]) -> str:
    def median(field: str) -> float:
        return statistics.median(getattr(cell, field) for cell in cells)

    return f"{median('per_s'):.1f}, {median('p50'):.0f} / {median('p95'):.0f} / {median('p99'):.0f}"


def _requirements(bench: Bench, servers: Sequence[str]) -> list[str]:
    """Return a table of the requirements that the project sets itself, and whether each is met."""
    mine, tutorials = bench.of("json", "ours", 1), bench.of("json", "tutorial", 1)
    by_alone = statistics.median(cell.p50 / cell.alone_ms for cell in mine)
    by_tutorial = statistics.median(
        (theirs.p50 * theirs.engine) / (ours.p50 * ours.engine) for ours, theirs in zip(mine, tutorials, strict=True)
    )
    spread = statistics.median(cell.p99 / cell.p50 for cell in bench.of("json", "ours", 32))
    raw = zip(bench.of("raw body", "ours", 32), bench.of("json", "ours", 32), strict=True)
    by_json = statistics.median(one.per_engine / other.per_engine for one, other in raw)
    rows = [
        ("32 callers: rate ÷ rate without a server", bench.ratio_to_limit("json", 32, "ours"), 0.85, True),
        ("32 callers: rate ÷ the tutorial's", bench.ratio("json", 32, "ours", "tutorial"), 4.5, True),
        ("32 callers: p99 ÷ p50", spread, 1.6, False),
        ("1 caller: p50 ÷ decoding and computing alone", by_alone, 1.35, False),
        ("1 caller: the tutorial's p50 ÷ ours", by_tutorial, 3.0, True),
        ("3000 x 2000: rate ÷ the tutorial's", bench.ratio("3000x2000", 8, "ours", "tutorial"), 5.0, True),
        ("raw bodies: rate ÷ rate of JSON", by_json, 1.0, True),
        ("20 photographs: share with the reference's first label", bench.fidelity.same_top, 0.99, True),
        ("20 photographs: largest difference of a confidence", bench.fidelity.off, bench.fidelity.allowed, False),
        ("answers other than 200", float(sum(cell.bad for cell in bench.cells)), 0.0, False),
    ]
    for peer in ("LitServe", "MLServer"):
        if peer in servers:
            rows.append((f"32 callers: rate ÷ {peer}'s", bench.ratio("json", 32, "ours", peer), 1.0, True))
    lines = ["| requirement | measured | wanted | |", "| --- | --- | --- | --- |"]
    for name, measured, wanted, at_least in rows:
        held = measured >= wanted if at_least else measured <= wanted
        sign = "≥" if at_least else "≤"
        lines.append(f"| {name} | {measured:.3g} | {sign} {wanted:g} | {'holds' if held else 'MISSED'} |")
    return lines
