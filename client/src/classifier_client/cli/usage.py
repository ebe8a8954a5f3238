"""`classify usage`: the user's usage as a table with a small chart, and the limits."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from classifier_client.cli import stored_key
from classifier_client.cli.bars import bar
from classifier_client.results import Limit, UsageBucket

_CHART_WIDTH = 20
# What the other columns take, so that nothing is wrapped on a terminal of 80 characters.
_TABLE_WIDTH = 69


def usage(
    bucket: Annotated[str, typer.Option(help="minute, hour or day.")] = "day",
    since: Annotated[str | None, typer.Option("--from", help="Start, such as 2026-11-01T00:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="End, exclusive.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the usage and the limits."""
    with stored_key.client() as client:
        buckets, limits = client.usage(bucket, since, until), client.limits()
    if as_json:
        document = {
            "usage": [dataclasses.asdict(one) for one in buckets],
            "limits": [dataclasses.asdict(one) for one in limits],
        }
        print(json.dumps(document, default=datetime.isoformat))
        return
    console = Console()
    console.print(_table(buckets, console) if buckets else "There are no requests in this time.")
    for limit in limits:
        console.print(_sentence(limit))


def _table(buckets: list[UsageBucket], console: Console) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    chart_width = max(1, min(_CHART_WIDTH, console.width - _TABLE_WIDTH))
    for name in ("start (UTC)", "requests", "images", "refused", "failed", "p50 ms", "p95 ms"):
        table.add_column(name, justify="left" if name.startswith("start") else "right", no_wrap=True)
    table.add_column("", no_wrap=True)
    most = max(one.images for one in buckets)
    for one in buckets:
        numbers = (one.requests, one.images, one.status.get("4xx", 0), one.status.get("5xx", 0))
        times = (f"{one.p50_ms:.1f}", f"{one.p95_ms:.1f}")
        chart = bar(one.images / most if most else 0.0, chart_width, console.options.ascii_only)
        table.add_row(one.start.strftime("%Y-%m-%d %H:%M"), *map(str, numbers), *times, chart)
    return table


def _sentence(limit: Limit) -> str:
    wait = f", one more in {limit.reset} s" if limit.reset and not limit.remaining else ""
    return f"Limit {limit.limit}: {limit.remaining} of {limit.quota} left{wait}."
