"""`/v2/admin/keys`: what operators do with keys over HTTP, and which keys they can not end or make."""

from typing import Any

import pytest

from auth.identity import SCOPES
from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from tests.fast.administering import KEYS, USERS, admin, changes, created, without_waiting, works
from tests.fast.conftest import Start

__all__ = ["admin", "without_waiting"]

pytestmark = pytest.mark.anyio


async def test_a_key_is_rotated_and_revoked(gateway: InProcessGateway, admin: IssuedKey, key: IssuedKey) -> None:
    answer = await gateway.request("POST", f"{KEYS}/{key.key_id}/rotate", admin, json={"grace": "1h"})
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"{KEYS}/{made['key_id']}")
    new = IssuedKey(made["key"], made["key_id"], made["user_id"])
    assert await works(gateway, key)
    assert await works(gateway, new)
    assert_problem(await gateway.request("POST", f"{KEYS}/{key.key_id}/rotate", admin), 409)
    for _ in range(2):
        assert (await gateway.request("DELETE", f"{KEYS}/{new.key_id}", admin)).status_code == 204
    assert not await works(gateway, new)
    states = {}
    for state in ("live", "revoked", "expired", "disabled"):
        listed = await gateway.request("GET", f"{KEYS}?state={state}", admin)
        states[state] = sorted(one["key_id"] for one in listed.json()["data"])
    live = sorted([admin.key_id, key.key_id])
    assert states == {"live": live, "revoked": [new.key_id], "expired": [], "disabled": []}
    assert changes(gateway) == [("rotate", new.key_id), ("revoke", new.key_id)]


async def test_a_key_gives_no_scope_that_it_lacks(gateway: InProcessGateway, admin: IssuedKey) -> None:
    lesser = await created(gateway, admin, email="lesser@example.org", scopes=["admin", "usage"])
    for scope in ("metrics", "keys", "classify"):
        refused = await gateway.request("POST", KEYS, lesser, json={"email": "x@example.org", "scopes": [scope]})
        assert f"'{scope}'" in assert_problem(refused, 403)["detail"]
    refused = await gateway.request("POST", f"{KEYS}/{admin.key_id}/rotate", lesser, json={"grace": "1h"})
    assert "'keys'" in assert_problem(refused, 403)["detail"]
    await created(gateway, lesser, email="x@example.org", scopes=["usage", "admin"])
    manager = gateway.new_key(email="admin@example.org", scopes=frozenset({"keys"}))
    refused = await gateway.request("POST", f"/v2/keys/{admin.key_id}/rotate", manager, json={"grace": "1h"})
    assert "'admin'" in assert_problem(refused, 403)["detail"]


async def test_any_operator_makes_and_rotates_an_ordinary_key(gateway: InProcessGateway) -> None:
    bare = gateway.new_key(email="admin@example.org", scopes=frozenset({"admin"}))
    made = await created(gateway, bare, email="ada@example.org")
    rotated = await gateway.request("POST", f"{KEYS}/{made.key_id}/rotate", bare, json={"grace": "1h"})
    assert (rotated.status_code, rotated.json()["scopes"]) == (201, ["classify", "usage"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", KEYS + "/{key}", None),
        ("POST", KEYS + "/{key}/rotate", None),
        ("PATCH", USERS + "/{user}", {"disabled": True}),
        ("DELETE", USERS + "/{user}", None),
        ("DELETE", "/v2/keys/self", None),
        ("DELETE", "/v2/keys/{key}", None),
        ("POST", "/v2/keys/{key}/rotate", {"grace": 0}),
    ],
)
async def test_the_last_key_of_an_operator_stays(
    gateway: InProcessGateway, admin: IssuedKey, method: str, path: str, body: Any
) -> None:
    await created(gateway, admin, email="b@example.org", scopes=["admin"], expires_in="1h")
    path = path.replace("{key}", admin.key_id).replace("{user}", admin.user_id)
    before = len(gateway.audit_log())
    refused = await gateway.request(method, path, admin, json=body)
    assert "python -m auth" in assert_problem(refused, 409)["detail"]
    assert await works(gateway, admin)
    assert len(gateway.audit_log()) == before
    await created(gateway, admin, email="c@example.org", scopes=["admin"])
    assert (await gateway.request(method, path, admin, json=body)).status_code < 300, "with another one, it may go"


async def test_the_last_key_of_an_operator_may_be_rotated_with_a_grace(
    gateway: InProcessGateway, admin: IssuedKey
) -> None:
    answer = await gateway.request("POST", f"{KEYS}/{admin.key_id}/rotate", admin, json={"grace": "1h"})
    assert answer.status_code == 201
    made = answer.json()
    refused = await gateway.request("DELETE", f"{KEYS}/{made['key_id']}", admin)
    assert_problem(refused, 409)
    new = IssuedKey(made["key"], made["key_id"], made["user_id"])
    assert (await gateway.request("DELETE", f"{KEYS}/{admin.key_id}", new)).status_code == 204


async def test_a_key_that_was_just_revoked_changes_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Authentication still knows it for half a second."""
    monkeypatch.undo()
    gateway = await start()
    admin = gateway.new_key(scopes=frozenset(SCOPES))
    gateway.new_key(scopes=frozenset(SCOPES))
    assert await works(gateway, admin)
    gateway.revoke(admin)
    assert_problem(await gateway.request("POST", KEYS, admin, json={"email": "a@example.org"}), 401)
    assert changes(gateway) == []


async def test_a_key_revoked_at_one_worker_is_refused_by_all(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    one, other = await start(), await start()
    admin, key = one.new_key(email="admin@example.org", scopes=frozenset({"admin"})), one.new_key()
    assert await works(other, key)
    assert (await one.request("DELETE", f"{KEYS}/{key.key_id}", admin)).status_code == 204
    assert not await works(other, key)
