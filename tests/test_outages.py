"""Processes killed and stores stopped under load: what was answered is in the usage log, and the service comes back.

`make torture` runs the same in full size: 100 kills on each database, 10 s without a database.
"""

import asyncio
import contextlib
import itertools
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import httpx
import psutil
import pytest
from circus.process import DEAD_OR_ZOMBIE
from circus.sighandler import SysHandler

from runtime.processes import AT_ONCE, replace_dead_workers_at_once
from testing.callers import BODY, Key, run_callers
from testing.history import Event, check
from testing.replicas import Replicas
from testing.servers import Server
from testing.store_servers import Postgres, RedisServer
from testing.waiting import PATIENCE_S, wait_until
from tests.answers import assert_problem

IN_FULL = bool(os.environ.get("TORTURE"))
KILLS, KILLED_ON = (100, ["sqlite", "postgresql"]) if IN_FULL else (3, ["sqlite"])
AWAY_S = 10.0 if IN_FULL else 2.0
# Callers who wait longer are kept waiting; a store that is back is used again sooner.
MOST_WAITING_S = 30.0
# Of each caller after each answer: requests are under way all the time, and processes that start have the cores.
PAUSE_S = 0.2
KILLED_PAUSE_S = 0.0 if IN_FULL else PAUSE_S
UNLIMITED = ("--limit", "1000000/day")


def assert_nothing_is_lost(events: list[Event], replicas: Replicas) -> None:
    users = {event.user for event in events}
    rows = [row for row in replicas.usage_log() if row.user in users]
    hits = {user: number for user, number in replicas.hits().items() if user in users}
    assert check(events, [(1_000_000, 86400.0)], rows, hits) == []


@pytest.fixture(scope="module")
def with_runner(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Server]:
    """A server whose runner is a service of its own. Each test leaves it running, or stopped."""
    server = Server(tmp_path_factory.mktemp("outages") / "it", model_store, CLASSIFIER_RUNNER="service")
    yield server
    server.end()


@pytest.fixture(scope="module")
def on_postgresql(tmp_path_factory: pytest.TempPathFactory, model_store: Path, postgres: Postgres) -> Iterator[Server]:
    """The same server on PostgreSQL."""
    settings = {"CLASSIFIER_RUNNER": "service", "CLASSIFIER_DATABASE_URL": postgres.new_database()}
    server = Server(tmp_path_factory.mktemp("outages-postgresql") / "it", model_store, **settings)
    yield server
    server.end()


@pytest.mark.parametrize("database", KILLED_ON)
def test_kills_under_load_lose_no_answered_request(request: pytest.FixtureRequest, database: str) -> None:
    """The gateway, the runner and the whole group, in turn; every 200 that was received is in the usage log once."""
    server: Server = request.getfixturevalue("with_runner" if database == "sqlite" else "on_postgresql")
    replicas, chance = Replicas([server]), random.Random(0)
    server.ensure_running()
    key = replicas.new_key("kills@example.org", *UNLIMITED)
    events: list[Event] = []
    victims = itertools.islice(itertools.cycle(["ImageClassifier", "ResNetRunner", "group"]), KILLS)
    for victim in victims:
        answered_before = sum(event.status == 200 for event in events)
        events += run_callers([server.url], [key], 16, 3.0, partial(kill, server, victim, chance), KILLED_PAUSE_S)
        if victim == "group":
            server.start()
        wait_for_an_answer(server, key)
        assert sum(event.status == 200 for event in events) > answered_before, "nothing was under way"
    events += run_callers([server.url], [key], 16, 1.0, pause_s=KILLED_PAUSE_S)
    assert {event.status for event in events} <= {200, 503, None}
    assert_nothing_is_lost(events, replicas)


def kill(server: Server, victim: str, chance: random.Random) -> None:
    time.sleep(1 + chance.random())
    if victim == "group":
        server.kill()
    else:
        [worker] = server.workers(victim)
        worker.kill()


def wait_for_an_answer(server: Server, key: Key, status: int = 200) -> None:
    """Return once a classification gets that status."""
    with server.client(key.key) as client:

        def is_answered() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return client.post("/v1/classify", json=BODY).status_code == status
            return False

        wait_until(is_answered, lambda: f"an answer {status}\n{server.log.read_text()[-3000:]}", looks_every_s=0.1)


def test_a_killed_worker_is_replaced_at_once(strained: Server) -> None:
    """By itself, BentoML's supervisor would look for it every ten seconds: three times take it twenty at least."""
    began = time.monotonic()
    for _ in range(3):
        [worker] = strained.workers("ImageClassifier")
        worker.kill()
        wait_until(lambda gone=worker: {*strained.workers("ImageClassifier")} - {gone}, "a worker takes its place")  # type: ignore[misc]
    assert time.monotonic() - began < 15


def test_a_worker_that_dies_at_each_start_does_not_keep_a_core_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGNALS", "SIG_NAMES"):
        monkeypatch.setattr(SysHandler, name, getattr(SysHandler, name))
    monkeypatch.setattr(SysHandler, "handle_chld", None, raising=False)
    supervisor, worker = mock.Mock(), mock.Mock(status=DEAD_OR_ZOMBIE)
    arbiter, loop = supervisor.controller.arbiter, supervisor.controller.loop
    arbiter.iter_watchers.return_value = [mock.Mock(processes={1: worker})]
    arbiter.manage_watchers = mock.AsyncMock()
    loop.add_callback_from_signal = lambda look, handler: asyncio.run(look(handler))
    replace_dead_workers_at_once()
    for _ in range(100):
        SysHandler.handle_chld(supervisor)
    assert arbiter.manage_watchers.call_count == AT_ONCE


def test_workers_end_with_a_supervisor_that_was_killed(with_runner: Server) -> None:
    """Else they would go on serving on its port, and its successor could not start."""
    server = with_runner
    server.ensure_running()
    key = Key.of(server.create_key("supervisor@example.org", *UNLIMITED))
    workers = server.workers("ImageClassifier") + server.workers("ResNetRunner")
    assert len(workers) == 2
    server.kill_supervisor()
    gone, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
    assert (len(gone), alive) == (2, [])
    server.start()
    wait_for_an_answer(server, key)


def go_through_an_outage(
    server: Server, key: Key, stop: Callable[[], None], start: Callable[[], None]
) -> tuple[list[Event], float]:
    """What callers saw before, during and after a store was away, and when the first was answered again."""
    answered_at: list[float] = []

    def away_and_back() -> None:
        time.sleep(1)
        stop()
        wait_for_an_answer(server, key, 503)
        time.sleep(AWAY_S)
        start()
        began = time.monotonic()
        wait_for_an_answer(server, key)
        answered_at.append(time.monotonic())
        assert answered_at[0] - began < MOST_WAITING_S

    events = run_callers([server.url], [key], 16, 0, away_and_back, PAUSE_S, afterwards_s=3)
    return events, answered_at[0]


def assert_it_said_so_and_came_back(events: list[Event], answered_at: float) -> None:
    assert {event.status for event in events} == {200, 503}
    refused = [event for event in events if event.status == 503]
    assert max(event.received - event.sent for event in refused) < MOST_WAITING_S, "callers were kept waiting"
    assert [event for event in refused if event.sent > answered_at] == []
    assert {event.status for event in events if event.sent > answered_at} == {200}


def test_without_postgresql_requests_get_503_and_nothing_is_lost(
    tmp_path: Path, model_store: Path, postgres: Postgres
) -> None:
    server = Server(tmp_path / "it", model_store, CLASSIFIER_DATABASE_URL=postgres.new_database())
    replicas = Replicas([server])
    server.start()
    try:
        key = replicas.new_key("load@example.org", *UNLIMITED)
        metrics = replicas.new_key("metrics@example.org", "--scope", "metrics")
        events, answered_at = go_through_an_outage(server, key, postgres.stop, postgres.start)
        assert_it_said_so_and_came_back(events, answered_at)
        assert_nothing_is_lost(events, replicas)
        assert counted(server, metrics, "database") > 0
        wait_for_outage_lines(server, "The database", ["away", "back"])
        postgres.stop()
        try:
            # Nobody classifies now: the alert fires all the same.
            wait_for_increase(server, metrics, "database")
            wait_for_outage_lines(server, "The database", ["away", "back", "away"])
            with server.client(key.key) as client:
                for path in ("/v1/classify", "/v2/classify", "/v2/classify/batch"):
                    refused = client.post(path, json=BODY)
                    assert "The database is away" in assert_problem(refused, 503)["detail"]
            assert_not_ready(server, "The database is away")
            assert httpx.get(f"{server.url}/livez", timeout=PATIENCE_S).status_code == 200
        finally:
            postgres.start()
        wait_for_an_answer(server, key)
        wait_for_outage_lines(server, "The database", ["away", "back"] * 2)
        assert "Traceback" not in server.log.read_text()
    finally:
        server.end()


def test_without_redis_requests_get_503_and_the_limit_holds(
    tmp_path: Path, model_store: Path, redis: RedisServer
) -> None:
    server = Server(tmp_path / "it", model_store, CLASSIFIER_REDIS_URL=redis.url)
    replicas = Replicas([server], redis)
    server.start()
    try:
        metrics = replicas.new_key("metrics@example.org", "--scope", "metrics")
        five = replicas.new_key("five@example.org", "--limit", "5/day")
        with server.client(five.key) as client:
            assert [client.post("/v1/classify", json=BODY).status_code for _ in range(6)] == [200] * 5 + [429]
            key = replicas.new_key("load@example.org", *UNLIMITED)
            events, answered_at = go_through_an_outage(server, key, redis.stop, redis.start)
            assert_it_said_so_and_came_back(events, answered_at)
            # Redis kept its log over the restart, and so the user's window.
            assert client.post("/v1/classify", json=BODY).status_code == 429
            redis.stop()
            # Nobody classifies now: the alert fires all the same, and the log says so once its quiet time is over.
            wait_for_increase(server, metrics, "redis")
            wait_for_outage_lines(server, "Redis", ["away", "back", "away"])
            away = client.post("/v1/classify", json=BODY)
            assert "Redis, which counts the limits, is away" in assert_problem(away, 503)["detail"]
            assert away.headers["ratelimit-policy"] == '"default";q=5;w=86400'
            assert_problem(client.get("/v2/limits"), 503)
            assert client.get("/v1/usage").status_code == 200
            assert_not_ready(server, "Redis, which counts the limits, is away")
            redis.start()
            wait_for_an_answer(server, key)
            wait_for_outage_lines(server, "Redis", ["away", "back"] * 2)
        assert_nothing_is_lost(events, replicas)
    finally:
        server.end()


def counted(server: Server, metrics: Key, store: str) -> float:
    """How often the store did not answer, by the metric of the alert `StoreAway`. The scrape must be answered."""
    with server.client(metrics.key) as client:
        lines = client.get("/metrics").raise_for_status().text.splitlines()
    wanted = f'classifier_storage_unavailable_total{{store="{store}"}}'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


def wait_for_increase(server: Server, metrics: Key, store: str) -> None:
    """Scrape, and send nothing else, until the alert `StoreAway` would fire."""
    before = counted(server, metrics, store)
    wait_until(lambda: counted(server, metrics, store) > before, "the metric of the alert grows", looks_every_s=0.2)


def outage_lines(server: Server, name: str) -> list[str]:
    """What the log of a server with one worker says of the outages of a store: "away" and "back", in turn."""
    return re.findall(rf"{name} is (away|back)\b", server.log.read_text())


def wait_for_outage_lines(server: Server, name: str, expected: list[str]) -> None:
    wait_until(
        lambda: outage_lines(server, name) == expected,
        lambda: f"the log says {expected}; it says {outage_lines(server, name)}",
    )


def assert_not_ready(server: Server, said: str) -> None:
    answer = httpx.get(f"{server.url}/readyz", timeout=PATIENCE_S)
    assert said in assert_problem(answer, 503)["detail"]


@pytest.mark.parametrize("runner", ["embedded", "service"])
def test_a_stop_answers_what_is_under_way_and_ends_with_success(request: pytest.FixtureRequest, runner: str) -> None:
    server: Server = request.getfixturevalue("strained" if runner == "embedded" else "with_runner")
    server.ensure_running()
    replicas = Replicas([server])
    key = replicas.new_key(f"stop-{runner}@example.org", *UNLIMITED)
    ended: list[int] = []

    def stop() -> None:
        time.sleep(1)
        ended.append(server.stop())

    events = run_callers([server.url], [key], 16, 2.0, stop, PAUSE_S, afterwards_s=1.0)
    assert ended == [0]
    # None: sent when nobody listened any more. Whatever was taken was answered, by a runner that was still there.
    assert {event.status for event in events} == {200, None}
    assert_nothing_is_lost(events, replicas)
