"""GET /v1/usage, and what is kept when a server ends."""

import sqlite3
from collections.abc import Callable
from typing import Any

from testing.photographs import COFFEE, as_base64
from testing.servers import Server

BODY = {"image": as_base64(COFFEE.read_bytes())}


def test_usage_shows_the_callers_own_requests_alone(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    with server.client(new_user("--limit", "4/hour")["key"]) as mine, server.client(new_user()["key"]) as other:
        nothing = {"total_requests": 0, "successful_requests": 0, "success_rate": 0.0, "avg_response_time_ms": 0.0}
        assert mine.get("/v1/usage").json() == nothing
        statuses = [mine.post("/v1/classify", json=BODY).status_code for _ in range(3)]
        statuses += [mine.post("/v1/classify", json=body).status_code for body in ({"image": "!"}, BODY)]
        assert statuses == [200, 200, 200, 400, 429]
        told = mine.get("/v1/usage").json()
        assert told["avg_response_time_ms"] > 0
        assert round(told["avg_response_time_ms"], 2) == told["avg_response_time_ms"]
        assert {**told, "avg_response_time_ms": 0} == {
            "total_requests": 4,
            "successful_requests": 3,
            "success_rate": 75.0,
            "avg_response_time_ms": 0,
        }
        assert other.get("/v1/usage").json() == nothing


def test_usage_and_keys_outlive_a_restart(strained: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    key = new_user("--limit", "5/hour")["key"]
    with strained.client(key) as client:
        assert [client.post("/v1/classify", json=BODY).status_code for _ in range(5)] == [200] * 5
        before = client.get("/v1/usage").json()
    assert strained.stop() == 0
    strained.start()
    with strained.client(key) as client:
        assert client.get("/v1/usage").json() == before
        # So does the limit's window.
        assert client.post("/v1/classify", json=BODY).status_code == 429


def test_the_usage_log_has_a_row_for_each_authenticated_request(
    server: Server, new_user: Callable[..., dict[str, Any]]
) -> None:
    made = new_user("--limit", "1/hour")
    with server.client(made["key"]) as client:
        client.post("/v1/classify", json=BODY, headers={"X-Request-ID": "same"})
        client.post("/v1/classify", json=BODY, headers={"X-Request-ID": "same"})
        client.get("/v1/model/info")
        client.get("/nothing")
    with sqlite3.connect(server.folder / "classifier.db") as database:
        rows = database.execute(
            "SELECT endpoint, method, status, images, key_id FROM usage_log WHERE user_id = ? ORDER BY id",
            [made["user_id"]],
        ).fetchall()
    database.close()
    assert rows == [
        ("/v1/classify", "POST", 200, 1, made["key_id"]),
        ("/v1/classify", "POST", 429, 0, made["key_id"]),
        ("/v1/model/info", "GET", 200, 0, made["key_id"]),
        ("/(unknown)", "GET", 404, 0, made["key_id"]),
    ]


def test_no_secret_is_stored_or_logged(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    key = new_user()["key"]
    with server.client(key) as client:
        client.get("/v1/usage")
        client.post("/v1/classify", json={"image": key})
    secret = key.rsplit("_", 1)[1][:32].encode()
    for file in [*server.folder.glob("classifier.db*"), server.log]:
        assert secret not in file.read_bytes(), file.name
