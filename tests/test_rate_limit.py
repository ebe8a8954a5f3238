"""The limit of a user, as callers meet it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from testing.photographs import COFFEE, as_base64
from testing.servers import Server
from tests.answers import assert_problem

BODY = {"image": as_base64(COFFEE.read_bytes())}


def test_the_sixth_request_within_the_window_is_refused(
    server: Server, new_user: Callable[..., dict[str, Any]]
) -> None:
    began = time.monotonic()
    with server.client(new_user("--limit", "5/hour")["key"]) as client:
        for left in (4, 3, 2, 1, 0):
            answer = client.post("/v1/classify", json=BODY)
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"default";q=5;w=3600'
            assert answer.headers["ratelimit"].startswith(f'"default";r={left};t=')
        refused = client.post("/v1/classify", json=BODY)
        assert "5/hour" in assert_problem(refused, 429)["detail"]
        assert 3600 - (time.monotonic() - began) - 1 <= int(refused.headers["retry-after"]) <= 3600
        assert refused.headers["ratelimit"] == f'"default";r=0;t={refused.headers["retry-after"]}'
        # Reading costs nothing, and is not limited.
        assert client.get("/v1/usage").status_code == 200


def test_the_default_limit_is_five_a_minute(new_user: Callable[..., dict[str, Any]]) -> None:
    assert new_user()["limits"] == ["5/minute"]


def test_fifty_at_once_admit_exactly_five(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    key = new_user("--limit", "5/hour")["key"]

    def ask(_: int) -> int:
        with server.client(key) as client:
            return client.post("/v1/classify", json=BODY).status_code

    with ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(ask, range(50)))
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == 5


def test_two_keys_of_a_user_share_its_limit(server: Server) -> None:
    keys = [server.create_key("shared@example.org", "--limit", "5/hour")["key"] for _ in range(2)]
    statuses = []
    for number in range(6):
        with server.client(keys[number % 2]) as client:
            statuses.append(client.post("/v1/classify", json=BODY).status_code)
    assert statuses == [200] * 5 + [429]


def test_every_answer_tells_the_standing_also_an_error(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    with server.client(new_user("--limit", "3/minute", "--limit", "100/90s")["key"]) as client:
        bad = client.post("/v1/classify", json={"image": "!"})
    assert bad.status_code == 400
    assert bad.headers["ratelimit-policy"] == '"default";q=3;w=60, "100/90s";q=100;w=90'
    assert bad.headers["ratelimit"].startswith('"default";r=2;t=60, "100/90s";r=99;t=90')


def test_an_unknown_caller_is_told_nothing(server: Server) -> None:
    assert "ratelimit" not in httpx.post(server.url + "/v1/classify", json=BODY).headers
