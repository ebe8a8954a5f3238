"""`/v2/admin` on SQLite and PostgreSQL: where their SQL differs, and where two operators act at once."""

import asyncio
from typing import Any

import pytest

from auth.identity import SCOPES
from storage.migrate import migrate
from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

USERS, KEYS, PLANS, AUDIT = "/v2/admin/users", "/v2/admin/keys", "/v2/admin/plans", "/v2/admin/audit"
ROUNDS = 5


@pytest.fixture(params=["sqlite", "postgresql"])
def options(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings that name the database, if it is not SQLite. Workers remember no key."""
    monkeypatch.setattr("storage.store.KEY_MEMORY_S", 0.0)
    if request.param == "sqlite":
        return {}
    url = request.getfixturevalue("postgres").new_database()
    migrate(url)
    return {"database_url": url}


def new_admin(gateway: InProcessGateway, email: str) -> IssuedKey:
    return gateway.new_key(email=email, scopes=frozenset(SCOPES))


async def test_a_user_and_its_keys_from_the_first_to_the_last_day(start: Start, options: dict[str, Any]) -> None:
    gateway = await start(**options)
    admin = new_admin(gateway, "admin@example.org")

    async def ask(method: str, path: str, status: int, **body: Any) -> Any:
        sent: dict[str, Any] = {"json": body} if body else {}
        answer = await gateway.request(method, path, admin, **sent)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    made = await ask("POST", KEYS, 201, email="Ada.B@Example.org", name="laptop", limits=["60/minute"])
    user = f"{USERS}/{made['user_id']}"
    await ask("POST", USERS, 409, email="ADA.B@example.org")
    changed = await ask("PATCH", user, 200, email="ada.l@example.org", limits=["9/90s"], disabled=True)
    assert (changed["email"], changed["limits"], changed["state"]) == ("ada.l@example.org", ["9/90s"], "disabled")
    assert len((await ask("GET", f"{KEYS}?state=disabled&user=ADA.L@example.org", 200))["data"]) == 1
    await ask("PATCH", user, 200, disabled=False)
    new = await ask("POST", f"{KEYS}/{made['key_id']}/rotate", 201)
    await ask("DELETE", f"{KEYS}/{new['key_id']}", 204)
    shown = await ask("GET", f"{KEYS}/{made['key_id']}", 200)
    assert (shown["state"], shown["replaced_by"], shown["name"]) == ("revoked", new["key_id"], "laptop")
    usage = await ask("GET", f"/v2/admin/usage?user={made['user_id']}", 200)
    assert usage["all_time"] == {"requests": 0, "images": 0, "billable_images": 0, "cost": None}
    for name in ("a", "b"):
        await ask("POST", PLANS, 201, name=name, price="1.50", currency="EUR")
    given = await ask("PATCH", user, 200, plan="a", drop_own=True)
    assert given["plan"] == "a"
    await ask("DELETE", user, 204)
    assert (await ask("GET", f"{USERS}?email=ada.l@example.org", 200))["data"] == []
    for path in (USERS, KEYS, PLANS, AUDIT):
        whole, read = (await ask("GET", path, 200))["data"], []
        cursor: str | None = ""
        while cursor is not None:
            page = await ask("GET", f"{path}?limit=1{cursor}", 200)
            read += page["data"]
            cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
        # The key of the operator is used meanwhile.
        assert [one | {"last_used_at": None} for one in read] == [one | {"last_used_at": None} for one in whole]
    actions = [entry["action"] for entry in whole]
    changed_keys = ["create", "rename", "set-limit", "disable", "enable", "rotate", "revoke"]
    assert actions == [*changed_keys, "plan-create", "plan-create", "plan-assign", "erase"]
    assert {entry["actor"] for entry in whole} == {f"key {admin.key_id} from 192.0.2.1"}
    # With a dot, which no random name of a key or a user has.
    assert "ada." not in str(whole)


async def test_an_erased_user_leaves_no_network_address(start: Start, options: dict[str, Any]) -> None:
    gateway = await start(**options)
    admin = new_admin(gateway, "admin@example.org")
    keys = [gateway.new_key(email="ada@example.org", scopes=frozenset({"keys"})) for _ in range(2)]
    answer = await gateway.request("DELETE", f"/v2/keys/{keys[0].key_id}", keys[1], address="198.51.100.7")
    assert answer.status_code == 204
    assert (await gateway.request("DELETE", f"{USERS}/{keys[0].user_id}", admin)).status_code == 204
    entries = (await gateway.request("GET", AUDIT, admin)).json()["data"]
    actors = [(entry["action"], entry["actor"]) for entry in entries]
    assert actors == [("revoke", f"key {keys[1].key_id}"), ("erase", f"key {admin.key_id} from 192.0.2.1")]


async def test_of_two_operators_who_end_each_other_at_once_one_stays(start: Start, options: dict[str, Any]) -> None:
    one, other = await start(**options), await start(**options)
    stays = new_admin(one, "first@example.org")
    for number in range(ROUNDS):
        rival = new_admin(one, f"rival{number}@example.org")
        how = ("DELETE", KEYS + "/{key}") if number % 2 else ("DELETE", USERS + "/{user}")

        def path_to(key: IssuedKey, path: str = how[1]) -> str:
            return path.replace("{key}", key.key_id).replace("{user}", key.user_id)

        answers = await asyncio.gather(
            one.request(how[0], path_to(rival), stays), other.request(how[0], path_to(stays), rival)
        )
        ended = [answer.status_code == 204 for answer in answers]
        assert sum(ended) == 1, [answer.text for answer in answers]
        assert_problem(answers[ended.index(False)], 401)
        stays, gone = (stays, rival) if ended[0] else (rival, stays)
        assert (await other.request("GET", KEYS, stays)).status_code == 200
        assert_problem(await one.request("GET", KEYS, gone), 401)
