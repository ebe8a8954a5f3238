"""Measures reading from and writing to a usage log with ten million rows, compared with an empty one.

`python -m benchmarks.usage_log [--rows 10000000] [--database sqlite|postgresql|both]`. Half of the rows belong
to one user.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, create_engine, text

from storage import keys
from storage.clock import unix_us
from storage.keys import NewKey
from storage.migrate import migrate
from storage.policy import Limit
from storage.rollup import bin_of
from storage.store import Store
from storage.usage import UsageRow
from testing.servers import Server, run_prepare
from testing.store_servers import Postgres

USERS = 20
DAYS = 90
TIMES_MS = (4.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 18.0, 25.0, 60.0, 250.0)
REQUESTS = 400
CHANGES = 500
ROUNDS = 7
LIMITS = (Limit(1_000_000, 60), Limit(100_000_000, 86400))

_FILL = """
INSERT INTO usage_log (request_id, user_id, key_id, endpoint, method, status, response_ms, at_us, images)
WITH {numbers}, timed(i, ms) AS (VALUES {times})
SELECT 'req_old' || n, CASE WHEN n % 2 = 0 THEN 'usr_0' ELSE 'usr_' || (1 + (n / 2) % {others}) END, 'key',
  '/v1/classify', 'POST', CASE WHEN n % 50 = 0 THEN 400 ELSE 200 END, ms,
  {begin_us} + n * {step_us}, 1
FROM numbers JOIN timed ON timed.i = (n * 7) % {kinds}
"""
_NUMBERS = {
    "sqlite": "RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {rows})",
    "postgresql": "numbers(n) AS (SELECT generate_series(CAST(0 AS bigint), {rows} - 1))",
}
_ADD_UP = """
INSERT INTO usage_rollup (user_id, width_s, start_s, endpoint, status, admitted, bin, requests, images, total_ms)
WITH binned(ms, bin) AS (VALUES {bins})
SELECT user_id, 60, at_us / 60000000 * 60, endpoint, status, 1, bin, count(*), sum(images), sum(response_ms)
FROM usage_log JOIN binned ON binned.ms = response_ms GROUP BY 1, 3, 4, 5, 7
"""
_ADD_UP_MORE = """
INSERT INTO usage_rollup (user_id, width_s, start_s, endpoint, status, admitted, bin, requests, images, total_ms)
SELECT user_id, {width}, {start}, endpoint, status, 1, bin, sum(requests), sum(images), sum(total_ms)
FROM usage_rollup WHERE width_s = {finer} GROUP BY 1, 3, 4, 5, 7
"""


def fill(connection: Connection, rows: int) -> None:
    """Write this many old rows, and their roll-up."""
    kind = connection.dialect.name
    if kind == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        # Without this, PostgreSQL checks ten million times that the user exists, which would take most of the time.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
    span_us = DAYS * 86400 * 1_000_000
    times = ", ".join(f"({number}, CAST({ms} AS float))" for number, ms in enumerate(TIMES_MS))
    statement = _FILL.format(
        numbers=_NUMBERS[kind].format(rows=rows),
        times=times,
        others=USERS - 1,
        kinds=len(TIMES_MS),
        begin_us=unix_us() - span_us,
        step_us=span_us // rows,
    )
    connection.execute(text(statement))
    bins = ", ".join(f"(CAST({ms} AS float), {bin_of(ms)})" for ms in TIMES_MS)
    connection.execute(text(_ADD_UP.format(bins=bins)))
    for finer, width in ((60, 3600), (3600, 86400)):
        start = f"start_s / {width} * {width}"
        connection.execute(text(_ADD_UP_MORE.format(width=width, start=start, finer=finer)))
    connection.execute(text(_ADD_UP_MORE.format(width=0, start="0", finer=86400)))


def settle(url: str) -> None:
    """Have the database do the maintenance that it would already have done if the rows had come one by one."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("VACUUM ANALYZE usage_log, usage_rollup"))
            connection.execute(text("CHECKPOINT"))
        else:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()


def add_users(store: Store) -> None:
    """Add the users of the rows, and a key of the first user, which the old rows name."""

    def add(connection: Connection) -> None:
        for number in range(USERS):
            values = {"id": f"usr_{number}", "email": f"user{number}@b", "limits": "5/minute", "created_us": 0}
            connection.execute(text("INSERT INTO users VALUES (:id, :email, :limits, :created_us)"), values)
        new = NewKey("user0@b", None, (), "key", "hash", frozenset({"usage"}), 0, None)
        keys.issue(connection, new)

    store.database.change(add)


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


def measure(folder: Path, url: str, url_of_empty: str, rows: int) -> None:
    """Fill the database `url` with rows, leave `url_of_empty` empty, and measure both."""
    stores = []
    for each in (url_of_empty, url):
        migrate(each)
        stores.append(Store(each))
        add_users(stores[-1])
    empty, full = stores
    began = time.perf_counter()
    full.database.change(partial(fill, rows=rows))
    settle(url)
    print(f"  filled {rows} rows in {time.perf_counter() - began:.0f} s", flush=True)
    compare_changes(empty, full)
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
