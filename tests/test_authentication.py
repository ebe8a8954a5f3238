"""Who is let in: nobody without a live key, and nobody beyond the key's scopes."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest

from auth.api_key import ApiKey
from testing.photographs import COFFEE, as_base64
from testing.servers import Server
from testing.waiting import wait_until
from tests.answers import assert_problem

PUBLIC = ("/", "/livez", "/readyz", "/healthz", "/schema.json", "/docs.json")
CLOSED = ("/v1/usage", "/v1/model/info", "/metrics", "/nothing/here", "/livez/", "//livez", "/static_content")


@pytest.mark.parametrize("path", PUBLIC)
def test_public_paths_are_open(server: Server, path: str) -> None:
    assert httpx.get(server.url + path).status_code == 200


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_every_other_path_asks_for_a_key(server: Server, path: str, method: str) -> None:
    answer = httpx.request(method, server.url + path)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_wrong_keys_all_look_alike(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    mine = new_user()["key"]
    typo = mine[:-1] + ("a" if mine[-1] != "a" else "b")
    wrong_secret = ApiKey(ApiKey.parse(mine).key_id, ApiKey.generate().secret).reveal()  # type: ignore[union-attr]
    unknown = ApiKey.generate().reveal()
    details = set()
    for credentials in (f"Bearer {typo}", f"Bearer {wrong_secret}", f"Bearer {unknown}", "Bearer", "Bearer x y", mine):
        answer = httpx.get(server.url + "/v1/usage", headers={"Authorization": credentials})
        details.add(assert_problem(answer, 401)["detail"])
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert len(details) == 1


@pytest.mark.parametrize("other", ["Bearer imc_x", "Basic YTpi", "", "another user's key"])
def test_several_headers_that_differ_are_refused(
    server: Server, new_user: Callable[..., dict[str, Any]], other: str
) -> None:
    mine = f"Bearer {new_user()['key']}"
    if other == "another user's key":
        other = f"Bearer {new_user()['key']}"
    for both in ((mine, other), (other, mine)):
        answer = httpx.get(server.url + "/v1/usage", headers=[("Authorization", one) for one in both])
        assert "once" in assert_problem(answer, 401)["detail"]
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_the_same_header_twice_is_one_key(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    twice = [("Authorization", f"Bearer {new_user()['key']}")] * 2
    assert httpx.get(server.url + "/v1/usage", headers=twice).status_code == 200


def test_the_scheme_may_be_written_in_any_case(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    answer = httpx.get(server.url + "/v1/usage", headers={"Authorization": f"bearer {new_user()['key']}"})
    assert answer.status_code == 200


def test_a_revoked_key_is_refused_once_the_command_returns(
    server: Server, new_user: Callable[..., dict[str, Any]]
) -> None:
    made = new_user()
    with server.client(made["key"]) as client:
        assert client.get("/v1/usage").status_code == 200
        assert server.auth("revoke", made["key_id"]).returncode == 0
        assert_problem(client.get("/v1/usage"), 401)
        assert_problem(client.post("/v1/classify", json={"image": as_base64(COFFEE.read_bytes())}), 401)


def test_the_keys_of_a_disabled_user_are_refused_once_the_command_returns(
    server: Server, new_user: Callable[..., dict[str, Any]]
) -> None:
    made = new_user()
    with server.client(made["key"]) as client:
        for command, status in (("disable", 401), ("enable", 200), ("erase", 401)):
            assert client.get("/v1/usage").status_code == (200 if status == 401 else 401)
            options = ["--yes"] if command == "erase" else []
            assert server.auth(command, made["user_id"], *options).returncode == 0
            assert client.get("/v1/usage").status_code == status


def test_a_key_that_was_used_shows_when(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    made, before_s = new_user(), time.time()
    with server.client(made["key"]) as client:
        assert client.get("/v1/usage").status_code == 200
    shown = json.loads(server.auth("show", made["key_id"], "--json").stdout)
    assert before_s - 60 < datetime.fromisoformat(shown["last_used_at"]).timestamp() <= time.time()


def test_a_changed_limit_is_in_force_within_a_second(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    made = new_user("--limit", "1/day")
    with server.client(made["key"]) as client:
        body = {"image": as_base64(COFFEE.read_bytes())}
        assert [client.post("/v1/classify", json=body).status_code for _ in range(2)] == [200, 429]
        assert server.auth("set-limit", made["user_id"], "2/day").returncode == 0
        time.sleep(1)
        assert [client.post("/v1/classify", json=body).status_code for _ in range(2)] == [200, 429]


def test_what_a_command_says_is_so_now_is_so_when_it_returns(
    server: Server, new_user: Callable[..., dict[str, Any]]
) -> None:
    made = new_user("--limit", "1/day")
    with server.client(made["key"]) as client:
        for number in range(2, 6):
            assert client.get("/v2/limits").status_code == 200
            assert server.auth("set-limit", made["user_id"], f"{number}/day").returncode == 0
            assert client.get("/v2/limits").json()["policies"][0]["limit"] == f"{number}/day"


def test_a_rotated_key_works_beside_the_new_one_for_its_grace(
    server: Server, new_user: Callable[..., dict[str, Any]]
) -> None:
    for grace, statuses in (("1h", [200, 200]), ("2s", [401, 200])):
        old, began = new_user(), time.monotonic()
        new = json.loads(server.auth("rotate", old["key_id"], "--grace", grace, "--json").stdout)
        with server.client(old["key"]) as before, server.client(new["key"]) as after:
            if grace == "2s":
                wait_until(lambda: before.get("/v1/usage").status_code == 401, "the old key ends")
                assert time.monotonic() - began >= 2
            assert [client.get("/v1/usage").status_code for client in (before, after)] == statuses


def test_a_user_rotates_and_revokes_its_own_keys(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    made = new_user("--scope", "keys", "--scope", "usage")
    with server.client(made["key"]) as caller:
        rotated = caller.post(f"/v2/keys/{made['key_id']}/rotate")
    assert rotated.status_code == 200
    with server.client(rotated.json()["key"]) as caller:
        assert [one["state"] for one in caller.get("/v2/keys").json()["data"]] == ["revoked", "live"]
        assert caller.delete("/v2/keys/self").status_code == 204
        assert_problem(caller.get("/v2/keys"), 401)
    shown = json.loads(server.auth("show", made["user_id"], "--json").stdout)
    assert [one["state"] for one in shown["keys"]] == ["revoked", "revoked"]


def test_an_expired_key_is_refused(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    began = time.monotonic()
    with server.client(new_user("--expires-in", "2s")["key"]) as client:
        wait_until(lambda: client.get("/v1/usage").status_code == 401, "the key expires")
        assert time.monotonic() - began >= 2
        assert_problem(client.get("/v1/usage"), 401)


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [("GET", "/metrics", "metrics"), ("GET", "/v1/usage", "usage"), ("POST", "/v1/classify", "classify")],
)
def test_a_missing_scope_is_403(
    server: Server, new_user: Callable[..., dict[str, Any]], method: str, path: str, needed: str
) -> None:
    others = [option for scope in ("classify", "usage", "metrics") if scope != needed for option in ("--scope", scope)]
    with server.client(new_user(*others)["key"]) as client:
        answer = client.request(method, path)
        assert f"'{needed}'" in assert_problem(answer, 403)["detail"]
        assert ("ratelimit" in answer.headers) == (needed == "classify")


def test_metrics_are_for_keys_with_the_scope(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    with server.client(new_user("--scope", "metrics")["key"]) as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert "bentoml_service_request_total" in answer.text
