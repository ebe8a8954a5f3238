"""`/v2/keys`: what users do with their own keys, and what nobody can do with them."""

import json

import pytest

from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem

pytestmark = pytest.mark.anyio

READ = "/v2/limits"
MANAGER = frozenset({"keys"})


@pytest.fixture(autouse=True)
def _with_a_short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker remembers a key for a shorter time, so that who revokes one waits less until none does."""
    monkeypatch.setattr("storage.store.KEY_MEMORY_S", 0.1)


@pytest.fixture
def manager(gateway: InProcessGateway, key: IssuedKey) -> IssuedKey:
    """A key of the same user as `key`, with the scope `keys` alone."""
    made = gateway.new_key(scopes=MANAGER)
    assert made.user_id == key.user_id
    return made


@pytest.fixture
def others(gateway: InProcessGateway) -> IssuedKey:
    return gateway.new_key(email="other@example.org", scopes=MANAGER | {"usage"})


async def test_a_user_sees_its_own_keys_and_no_secret(
    gateway: InProcessGateway, key: IssuedKey, manager: IssuedKey, others: IssuedKey
) -> None:
    answer = await gateway.request("GET", "/v2/keys", manager)
    assert answer.status_code == 200
    listed = answer.json()["data"]
    assert [one["key_id"] for one in listed] == [key.key_id, manager.key_id]
    assert [one["scopes"] for one in listed] == [["classify", "usage"], ["keys"]]
    assert {one["state"] for one in listed} == {"live"}
    assert listed[0]["last_used_at"] is None
    for one in (key, manager, others):
        assert one.text.rpartition("_")[2] not in answer.text
    assert others.key_id not in answer.text


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v2/keys"), ("DELETE", "/v2/keys/{id}"), ("POST", "/v2/keys/{id}/rotate")]
)
async def test_it_takes_the_scope(gateway: InProcessGateway, key: IssuedKey, method: str, path: str) -> None:
    answer = await gateway.request(method, path.replace("{id}", key.key_id), key)
    assert "'keys'" in assert_problem(answer, 403)["detail"]


async def test_a_rotated_key_is_replaced_at_once(gateway: InProcessGateway, key: IssuedKey, manager: IssuedKey) -> None:
    answer = await gateway.request("POST", f"/v2/keys/{key.key_id}/rotate", manager)
    assert answer.status_code == 200
    made = answer.json()
    assert made["user_id"] == key.user_id
    assert (made["scopes"], made["expires_at"]) == (["classify", "usage"], None)
    new = IssuedKey(made["key"], made["key_id"], made["user_id"])
    assert (await gateway.request("GET", READ, new)).status_code == 200
    assert_problem(await gateway.request("GET", READ, key), 401)
    listed = {one["key_id"]: one for one in (await gateway.request("GET", "/v2/keys", manager)).json()["data"]}
    assert (listed[key.key_id]["state"], listed[key.key_id]["replaced_by"]) == ("revoked", new.key_id)
    again = await gateway.request("POST", f"/v2/keys/{key.key_id}/rotate", manager)
    assert "create a new one" in assert_problem(again, 409)["detail"]


@pytest.mark.parametrize("grace", ["1h", "7d", 60])
async def test_the_old_key_may_work_for_a_while(
    gateway: InProcessGateway, key: IssuedKey, manager: IssuedKey, grace: str | int
) -> None:
    answer = await gateway.request("POST", f"/v2/keys/{key.key_id}/rotate", manager, json={"grace": grace})
    assert answer.status_code == 200
    assert (await gateway.request("GET", READ, key)).status_code == 200
    again = await gateway.request("POST", f"/v2/keys/{key.key_id}/rotate", manager)
    assert f"rotate {answer.json()['key_id']} instead" in assert_problem(again, 409)["detail"]


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b'{"grace": "soon"}', 422, "'grace' is wrong: write a time like 30d"),
        (b'{"grace": -5}', 422, "'grace' is wrong"),
        (b'{"grace": true}', 422, "'grace"),
        (b'{"grace": "99999999d"}', 422, "at most 100 years"),
        (b'{"grace": ', 400, 'not valid JSON; send an object like {"grace": "1h"}'),
        (b"[]", 422, "must be a JSON object"),
    ],
)
async def test_a_wrong_body_changes_nothing(
    gateway: InProcessGateway, key: IssuedKey, manager: IssuedKey, content: bytes, status: int, said: str
) -> None:
    answer = await gateway.request("POST", f"/v2/keys/{key.key_id}/rotate", manager, content=content)
    assert said in assert_problem(answer, status)["detail"]
    assert (await gateway.request("GET", READ, key)).status_code == 200


async def test_a_revoked_key_is_refused_and_to_revoke_it_again_changes_nothing(
    gateway: InProcessGateway, key: IssuedKey, manager: IssuedKey
) -> None:
    assert (await gateway.request("GET", READ, key)).status_code == 200
    for _ in range(2):
        answer = await gateway.request("DELETE", f"/v2/keys/{key.key_id}", manager)
        assert (answer.status_code, answer.content) == (204, b"")
        assert_problem(await gateway.request("GET", READ, key), 401)
    revocations = [entry for entry in gateway.audit_log() if entry["action"] == "revoke"]
    assert [entry["key_id"] for entry in revocations] == [key.key_id]
    assert revocations[0]["actor"].startswith(f"key {manager.key_id} from ")
    assert json.loads(revocations[0]["detail"]) == {"email": "caller@example.org"}


async def test_a_key_that_was_just_revoked_makes_no_new_one(
    gateway: InProcessGateway, key: IssuedKey, manager: IssuedKey
) -> None:
    """Authentication still knows it for a moment."""
    assert (await gateway.request("GET", "/v2/keys", manager)).status_code == 200
    gateway.revoke(manager)
    answer = await gateway.request("POST", f"/v2/keys/{key.key_id}/rotate", manager)
    assert_problem(answer, 401)
    assert (await gateway.request("GET", READ, key)).status_code == 200


@pytest.mark.parametrize("method", ["DELETE", "POST"])
async def test_another_users_key_is_as_unknown_as_none(
    gateway: InProcessGateway, key: IssuedKey, others: IssuedKey, method: str
) -> None:
    details = set()
    for key_id in (key.key_id, "AAAAAAAAAAAA", "self2", "%2e"):
        path = f"/v2/keys/{key_id}" + ("/rotate" if method == "POST" else "")
        details.add(assert_problem(await gateway.request(method, path, others), 404)["detail"])
    assert "You have no key of this id; GET /v2/keys lists yours." in details
    assert (await gateway.request("GET", READ, key)).status_code == 200


@pytest.mark.parametrize("scopes", [{"classify"}, {"metrics"}, {"usage", "keys"}])
async def test_any_key_may_revoke_itself(gateway: InProcessGateway, scopes: set[str]) -> None:
    leaked = gateway.new_key(email="leaked@example.org", scopes=frozenset(scopes))
    assert (await gateway.request("DELETE", "/v2/keys/self", leaked)).status_code == 204
    assert_problem(await gateway.request("GET", "/v2/models", leaked), 401)


@pytest.mark.parametrize("written", ["sel%66", "%73elf", "%73%65%6c%66"])
async def test_self_written_otherwise_ends_no_key(gateway: InProcessGateway, manager: IssuedKey, written: str) -> None:
    """Else the row of the table that lets it in would be another than the one that answers."""
    assert_problem(await gateway.request("DELETE", f"/v2/keys/{written}", manager), 404)
    assert (await gateway.request("GET", "/v2/keys", manager)).status_code == 200


async def test_a_scope_of_the_service_is_not_handed_to_a_key_without_it(
    gateway: InProcessGateway, manager: IssuedKey
) -> None:
    metrics = gateway.new_key(scopes=frozenset({"metrics"}))
    answer = await gateway.request("POST", f"/v2/keys/{metrics.key_id}/rotate", manager)
    assert "'metrics'" in assert_problem(answer, 403)["detail"]
    assert (await gateway.request("GET", "/v2/models", metrics)).status_code == 200, "it still works"
    both = gateway.new_key(scopes=MANAGER | {"metrics"})
    assert (await gateway.request("POST", f"/v2/keys/{metrics.key_id}/rotate", both)).status_code == 200


async def test_it_costs_no_hit_and_has_a_usage_row(
    gateway: InProcessGateway, key: IssuedKey, manager: IssuedKey
) -> None:
    await gateway.request("GET", "/v2/keys", manager)
    await gateway.request("DELETE", f"/v2/keys/{key.key_id}", manager)
    rows = gateway.usage_rows()[-2:]
    assert [(row["endpoint"], row["status"], row["images"]) for row in rows] == [
        ("/v2/keys", 200, 0),
        ("/v2/keys/{id}", 204, 0),
    ]
