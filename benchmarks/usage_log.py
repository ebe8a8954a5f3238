"""Measures reading from, writing to and exporting a usage log with ten million rows, compared with an empty one.

`python -m benchmarks.usage_log [--rows 10000000] [--database sqlite|postgresql|both]`. Half of the rows belong
to one user.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil

from auth.cli.export import WRITERS
from benchmarks.filled_log import add_up, add_users, fill, settle
from storage.clock import unix_us
from storage.migrate import migrate
from storage.policy import Limit
from storage.store import Store
from storage.usage import UsageRow
from testing.servers import PROJECT, Server, run_prepare
from testing.store_servers import Postgres

REQUESTS = 400
CHANGES = 500
ROUNDS = 7
LIMITS = (Limit(1_000_000, 60), Limit(100_000_000, 86400))


async def cost_of_a_change(store: Store) -> tuple[float, float]:
    """Return the median time of one hit and of one usage row, each committed alone, ms."""

    async def each(change: Callable[[], Awaitable[object]]) -> float:
        took = []
        for _ in range(CHANGES):
            began = time.perf_counter()
            await change()
            took.append(time.perf_counter() - began)
        return statistics.median(took) * 1000

    def row() -> UsageRow:
        request_id = f"req_{time.time_ns():020d}"
        return UsageRow(request_id, "usr_0", "key", "/v1/classify", "POST", 200, 9.0, unix_us(), 1)

    return await each(lambda: store.hit("usr_0", LIMITS)), await each(lambda: store.record(row()))


def compare_changes(empty: Store, full: Store) -> None:
    """Print the time of one write in each store, measured in turns, and the ratio."""
    loop = asyncio.new_event_loop()
    measured: dict[Store, list[tuple[float, float]]] = {empty: [], full: []}
    for number in range(ROUNDS):
        for store in (empty, full) if number % 2 else (full, empty):
            measured[store].append(loop.run_until_complete(cost_of_a_change(store)))
    for number, name in enumerate(("hit", "row")):
        of_empty, of_full = (statistics.median(costs[number] for costs in measured[store]) for store in (empty, full))
        ratio = of_full / of_empty
        print(f"  one {name}: {of_empty:.3f} ms empty, {of_full:.3f} ms full, ratio {ratio:.2f} (wanted: under 1.3)")
    for store in (empty, full):
        loop.run_until_complete(store.close())
    loop.close()


def read_usage(server: Server, key: str) -> None:
    """Print p50 and p99 of each route that reads usage."""
    questions = ("/v1/usage", "/v2/usage", "/v2/usage?bucket=hour", "/v2/usage?bucket=minute")
    with server.client(key) as client:
        for question in questions:
            took = []
            for _ in range(REQUESTS):
                began = time.perf_counter()
                answer = client.get(question)
                took.append((time.perf_counter() - began) * 1000)
                assert answer.status_code == 200, answer.text
            took.sort()
            print(f"  {question:<26} p50 {took[REQUESTS // 2]:5.1f} ms, p99 {took[int(REQUESTS * 0.99)]:5.1f} ms")


def export(url: str, rows: int) -> None:
    """Print how quickly `python -m auth export` writes all rows, and the most memory that it took."""
    for format_ in WRITERS:
        began = time.perf_counter()
        command = [sys.executable, "-m", "auth", "export", "--format", format_]
        environment = os.environ | {"CLASSIFIER_DATABASE_URL": url}
        exporting = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        watched, most = psutil.Process(exporting.pid), 0
        while exporting.poll() is None:
            most = max(most, watched.memory_info().rss)
            time.sleep(0.1)
        assert exporting.returncode == 0
        rate = rows / (time.perf_counter() - began)
        print(
            f"  export as {format_:<12} {rate:,.0f} rows/s (wanted: 50,000), {most / 2**20:.0f} MiB (wanted: under 200)"
        )


def measure(folder: Path, url: str, url_of_empty: str, rows: int) -> None:
    """Fill the database `url` with rows, leave `url_of_empty` empty, and measure both."""
    stores = []
    for each in (url_of_empty, url):
        migrate(each)
        stores.append(Store(each))
        stores[-1].database.change(add_users)
    empty, full = stores
    began = time.perf_counter()
    full.database.change(partial(fill, rows=rows))
    full.database.change(add_up)
    settle(url)
    print(f"  filled {rows} rows in {time.perf_counter() - began:.0f} s", flush=True)
    compare_changes(empty, full)
    export(url, rows)
    models = folder / "prepared" / "models"
    if not models.exists():
        prepared = run_prepare(models, CLASSIFIER_OFFLINE_MODEL="only")
        assert prepared.returncode == 0, prepared.stderr
    with ExitStack() as stack:
        server = Server(Path(tempfile.mkdtemp(dir=folder)) / "it", models, CLASSIFIER_DATABASE_URL=url)
        server.start()
        stack.callback(server.end)
        read_usage(server, server.create_key("user0@b", "--scope", "usage")["key"])


def main() -> None:
    """Measure on the databases that `--database` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.database != "postgresql":
            print("SQLite", flush=True)
            measure(folder, f"sqlite:///{folder}/it.db", f"sqlite:///{folder}/empty.db", asked.rows)
        if asked.database != "sqlite":
            print("PostgreSQL", flush=True)
            postgres = Postgres()
            try:
                measure(folder, postgres.new_database(), postgres.new_database(), asked.rows)
            finally:
                postgres.close()


if __name__ == "__main__":
    main()
