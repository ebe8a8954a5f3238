"""Thousands of requests that no caller should send: none is a 500, none hangs, and nobody else is kept waiting.

`make torture` sends 10,000, `make test` 500.
"""

import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from testing.callers import BODY
from testing.servers import Server
from tests.answers import assert_problem
from tests.mutation import made_up_requests, requests

IN_FULL = bool(os.environ.get("TORTURE"))
REQUESTS = 10_000 if IN_FULL else 500
SENDERS = 4
# Of each sender: damaged files are answered sooner than sound ones, and are not to come more often for it.
PAUSE_S = 0.03
ANSWERED_WITHIN_S = 55.0
MEMORY_MB = 50


@pytest.fixture
def key(new_user: Callable[..., dict[str, Any]]) -> str:
    return str(new_user("--limit", "1000000/day")["key"])


def check(answer: httpx.Response) -> int:
    assert answer.status_code < 500, answer.text
    assert answer.elapsed.total_seconds() < ANSWERED_WITHIN_S
    if answer.status_code >= 400:
        assert_problem(answer, answer.status_code)
    return answer.status_code


def test_made_up_requests_are_refused_in_words(server: Server, key: str) -> None:
    statuses: set[int] = set()
    with server.client(key) as client:

        @given(request=made_up_requests)
        @settings(
            max_examples=REQUESTS // 2,
            deadline=None,
            derandomize=not IN_FULL,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def try_one(request: tuple[str, bytes, str, dict[str, str]]) -> None:
            path, body, content_type, query = request
            headers = {"Content-Type": content_type} if content_type else {}
            statuses.add(check(client.post(path, content=body, params=query, headers=headers)))

        try_one()
    assert statuses >= {400, 415, 422}


def rss_mb(server: Server) -> float:
    workers = server.workers("ImageClassifier") + server.workers("ResNetRunner")
    return float(sum(worker.memory_info().rss for worker in workers) / 1e6)


def send(server: Server, key: str, seed: int, number: int, damage: bool) -> list[int]:
    made: Iterator[tuple[str, dict[str, Any]]] = requests(random.Random(seed), damage)
    with server.client(key) as client:
        statuses = []
        for path, sent in itertools.islice(made, number):
            time.sleep(PAUSE_S)
            statuses.append(check(client.post(path, **sent)))
        return statuses


def neighbour(server: Server, key: str, over: threading.Event) -> list[float]:
    """What a well-behaved caller waits meanwhile, ms."""
    times = []
    with server.client(key) as client:
        while not over.is_set():
            answer = client.post("/v1/classify", json=BODY)
            assert answer.status_code == 200
            times.append(answer.elapsed.total_seconds() * 1000)
            time.sleep(0.01)
    return times


def under_load(server: Server, key: str, number: int, damage: bool) -> tuple[set[int], float]:
    """The statuses that the senders got, and the neighbour's p99 in ms."""
    over = threading.Event()
    with ThreadPoolExecutor(SENDERS + 1) as pool:
        beside = pool.submit(neighbour, server, key, over)
        senders = [pool.submit(send, server, key, seed, number // SENDERS, damage) for seed in range(SENDERS)]
        try:
            statuses = {status for sender in senders for status in sender.result()}
        finally:
            over.set()
        return statuses, float(np.percentile(beside.result(), 99))


def test_damaged_files_break_nothing(server: Server, key: str) -> None:
    """Measured against as many sound files of the same kinds: for them, a neighbour waits as well."""
    already = server.log.stat().st_size
    statuses, beside_sound_ms = under_load(server, key, REQUESTS // 4, damage=False)
    assert statuses == {200}
    before_mb = rss_mb(server)
    statuses, beside_damaged_ms = under_load(server, key, REQUESTS // 2, damage=True)
    assert statuses >= {200, 400}
    after_mb = rss_mb(server)
    print(f"p99 of a neighbour: {beside_sound_ms:.0f} ms beside sound files, {beside_damaged_ms:.0f} ms beside damaged")
    print(f"memory: {before_mb:.0f} MB before, {after_mb:.0f} MB after")
    assert after_mb < before_mb + MEMORY_MB
    if IN_FULL:
        assert beside_damaged_ms < 2 * beside_sound_ms
    log = server.log.read_text()[already:]
    assert "Traceback" not in log
    assert "unexpected" not in log
