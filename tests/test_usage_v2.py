"""GET /v2/usage and /v2/limits: what a caller has used, in buckets of time, and what is left."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import Connection

from storage import keys, rollup, usage
from storage.database import Database
from storage.keys import NewKey
from storage.policy import Limit
from storage.rollup import Span
from storage.usage import UsageRow
from testing.callers import BODY
from testing.empty_databases import make_tables
from testing.servers import Server
from tests.answers import assert_problem


@pytest.fixture
def mine(server: Server, new_user: Callable[..., dict[str, Any]]) -> Iterator[httpx.Client]:
    with server.client(new_user("--limit", "4/hour", "--limit", "100/day")["key"]) as client:
        yield client


def use(client: httpx.Client) -> None:
    statuses = [client.post("/v1/classify", json=body).status_code for body in (BODY, BODY, {"image": "!"}, BODY, BODY)]
    assert statuses == [200, 200, 400, 200, 429]


@pytest.mark.parametrize("bucket", ["minute", "hour", "day"])
def test_buckets_add_up_what_was_asked(mine: httpx.Client, bucket: str) -> None:
    use(mine)
    told = mine.get("/v2/usage", params={"bucket": bucket, "endpoint": "/v1/classify"}).json()
    assert set(told) == {"bucket", "from", "to", "endpoint", "total", "data", "next_cursor"}
    assert told["next_cursor"] is None
    assert sum(entry["requests"] for entry in told["data"]) == 5
    assert sum(entry["images"] for entry in told["data"]) == 4
    assert sum(entry["status"]["2xx"] for entry in told["data"]) == 3
    assert sum(entry["status"]["4xx"] for entry in told["data"]) == 2
    for entry in told["data"]:
        times = entry["response_time_ms"]
        assert 0 < times["p50"] <= times["p95"] <= times["p99"]
        assert times["mean"] > 0


def test_every_endpoint_is_counted_unless_one_is_named(mine: httpx.Client) -> None:
    mine.get("/v1/usage")
    mine.get("/made/up")
    told = mine.get("/v2/usage").json()
    assert sum(entry["requests"] for entry in told["data"]) == 2
    named = mine.get("/v2/usage", params={"endpoint": "/v1/usage"}).json()
    assert sum(entry["requests"] for entry in named["data"]) == 1


def test_a_span_in_the_past_is_empty(mine: httpx.Client) -> None:
    use(mine)
    told = mine.get("/v2/usage", params={"from": "2020-01-01", "to": "2020-02-01T00:00:00Z"}).json()
    assert told["data"] == []
    assert told["from"] == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"bucket": "week"}, "bucket"),
        ({"from": "yesterday"}, "from"),
        ({"cursor": "-1"}, "cursor"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "from"),
    ],
)
def test_a_wrong_query_is_422_and_names_the_field(mine: httpx.Client, query: dict[str, str], field: str) -> None:
    problem = assert_problem(mine.get("/v2/usage", params=query), 422)
    assert f"'{field}'" in problem["detail"]
    assert problem["field"] == field


@pytest.mark.parametrize(
    "written", ["2026-01-01", "20260101", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "1767225600"]
)
def test_a_time_is_read_as_it_is_meant(mine: httpx.Client, written: str) -> None:
    told = mine.get("/v2/usage", params={"from": written, "to": "2026-01-02"})
    assert told.json()["from"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("written", ["", "yesterday", "2026-02-30", "2026-01-01T25:00:00Z", "20261301", "9" * 20])
def test_what_is_no_time_is_told_how_to_write_one(mine: httpx.Client, written: str) -> None:
    problem = assert_problem(mine.get("/v2/usage", params={"to": written}), 422)
    assert "2026-11-01T12:00:00Z" in problem["detail"]
    assert problem["field"] == "to"


@pytest.mark.parametrize("field", ["from", "to"])
@pytest.mark.parametrize("zone", ["+01:00", "+0530", "+01"])
@pytest.mark.parametrize("time_of_day", ["T00:00:00", "T10:20", "t10:20:30.5"])
def test_a_plus_that_is_not_escaped_is_told(mine: httpx.Client, field: str, zone: str, time_of_day: str) -> None:
    problem = assert_problem(mine.get(f"/v2/usage?{field}=2026-01-01{time_of_day}{zone}"), 422)
    assert "%2B" in problem["detail"]
    assert problem["field"] == field
    escaped = {"from": "2020-01-01", field: f"2026-01-01{time_of_day}{zone}"}
    assert mine.get("/v2/usage", params=escaped).status_code == (200 if zone != "+01" else 422)


def test_limits_tell_each_policy(mine: httpx.Client) -> None:
    fresh = mine.get("/v2/limits").json()["policies"]
    assert [(policy["name"], policy["remaining"], policy["reset"]) for policy in fresh] == [
        ("default", 4, 0),
        ("100/day", 100, 0),
    ]
    began = time.monotonic()
    use(mine)
    used = mine.get("/v2/limits").json()["policies"]
    assert [policy["remaining"] for policy in used] == [0, 96]
    assert used[0] == {**used[0], "limit": "4/hour", "quota": 4, "window": 3600}
    assert 3600 - (time.monotonic() - began) - 1 <= used[0]["reset"] <= 3600


@pytest.mark.parametrize("path", ["/v2/usage", "/v2/limits"])
def test_the_scope_usage_is_needed(server: Server, new_user: Callable[..., dict[str, Any]], path: str) -> None:
    with server.client(new_user("--scope", "classify")["key"]) as client:
        assert_problem(client.get(path), 403)


def database_of(folder: Path, times_ms: list[float], apart: timedelta) -> tuple[Database, str]:
    """A database with a user's requests, one after another."""
    url = f"sqlite:///{folder}/it.db"
    make_tables(url)
    database = Database(url)
    new = NewKey("a@b", None, (Limit(5, 60),), "key", "hash", frozenset(), 0, None)
    user = database.change(partial(keys.issue, new=new)).user_id
    start_us = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    step_us = int(apart.total_seconds() * 1e6)
    rows = [
        UsageRow(f"req_{number}", user, "key", "/v1/classify", "POST", 200, took_ms, start_us + number * step_us, 1)
        for number, took_ms in enumerate(times_ms)
    ]
    database.change(lambda connection: usage.record(connection, rows))
    return database, user


def test_percentiles_are_within_two_and_a_half_percent(tmp_path: Path) -> None:
    times_ms = np.random.default_rng(0).lognormal(3, 1, 2000).tolist()
    database, user = database_of(tmp_path, times_ms, timedelta(0))
    tally = database.ask(lambda connection: rollup.totals(connection, user))
    for share in (0.5, 0.95, 0.99):
        exact = sorted(times_ms)[math.ceil(share * len(times_ms)) - 1]
        assert tally.percentile_ms(share) == pytest.approx(exact, rel=0.025)
    assert tally.mean_ms == pytest.approx(float(np.mean(times_ms)))
    database.close()


def test_pages_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    database, user = database_of(tmp_path, [5.0] * 250, timedelta(minutes=1))
    start_s = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    seen: list[int] = []
    after: int | None = start_s
    while after is not None:
        span = Span(60, after, start_s + 10**6, None, 100)
        page, after = database.ask(partial(rollup.buckets, user_id=user, span=span))
        seen += [at for at, _ in page]
    assert seen == [start_s + 60 * number for number in range(250)]
    database.close()


def steps(database: Database, query: Callable[[Connection], object]) -> int:
    """Returns how many hundred steps SQLite takes for a query: its work, whatever the machine does besides."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    def counted(connection: Connection) -> None:
        sqlite: Any = connection.connection.dbapi_connection
        query(connection)  # Reads the schema the first time.
        sqlite.set_progress_handler(count, 100)
        query(connection)
        sqlite.set_progress_handler(None, 0)

    database.ask(counted)
    return taken


@pytest.mark.parametrize(("width_s", "span"), [(60, timedelta(hours=1)), (3600, timedelta(days=1))])
def test_a_span_is_read_as_quickly_from_a_long_log_as_from_a_short_one(
    tmp_path: Path, width_s: int, span: timedelta
) -> None:
    begin_s = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())

    def work(name: str, requests: int) -> tuple[int, int, int]:
        (tmp_path / name).mkdir()
        database, user = database_of(tmp_path / name, [5.0] * requests, timedelta(minutes=5))
        last_s = begin_s + requests * 300
        of_span = Span(width_s, int(last_s - span.total_seconds()), last_s, None, 100)
        of_all = replace(of_span, from_s=begin_s)
        asked: list[Callable[[Connection], object]] = [
            partial(rollup.total, user_id=user, span=of_span),
            partial(rollup.buckets, user_id=user, span=of_span),
            partial(rollup.buckets, user_id=user, span=of_all),
        ]
        total, buckets, first_page = (steps(database, query) for query in asked)
        database.close()
        return total, buckets, first_page

    short, long = work("short", 2000), work("long", 8000)
    assert all(of_long <= 1.2 * of_short + 2 for of_short, of_long in zip(short, long, strict=True)), (short, long)


def test_pruning_keeps_what_was_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "PRUNED_AT_ONCE", 7)
    database, user = database_of(tmp_path, [5.0] * 20, timedelta(days=1))
    before_us = int((datetime(2026, 1, 11, tzinfo=UTC)).timestamp() * 1e6)
    pruned = 0
    while some := database.change(lambda connection: usage.prune(connection, before_us)):
        pruned += some
    assert pruned == 10
    assert database.ask(usage.count) == 10
    assert database.ask(lambda connection: rollup.totals(connection, user)).requests == 20
    database.close()


def test_the_clock_is_utc(mine: httpx.Client) -> None:
    began_s = time.time()
    use(mine)
    [*_, last] = mine.get("/v2/usage", params={"bucket": "minute"}).json()["data"]
    assert last["start"].endswith("Z")
    assert began_s - 60 < datetime.fromisoformat(last["start"]).timestamp() < time.time()
