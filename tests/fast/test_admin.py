"""`/v2/admin`: what operators do with users and keys over HTTP, and what nobody can do there."""

from typing import Any

import pytest

from api.routes import ROUTES
from auth.identity import SCOPES
from testing.callers import BODY
from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

READ = "/v2/models"
USERS, KEYS, PLANS = "/v2/admin/users", "/v2/admin/keys", "/v2/admin/plans"
OF_OPERATORS = [(route.methods[0], route.path) for route in ROUTES if route.path.startswith("/v2/admin/")]


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers remember no key, so that a change is in force at once."""
    monkeypatch.setattr("storage.store.KEY_MEMORY_S", 0.0)


@pytest.fixture
def admin(gateway: InProcessGateway) -> IssuedKey:
    """The one key with every scope."""
    return gateway.new_key(email="admin@example.org", scopes=frozenset(SCOPES))


async def created(gateway: InProcessGateway, admin: IssuedKey, **order: Any) -> IssuedKey:
    answer = await gateway.request("POST", KEYS, admin, json=order)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"{KEYS}/{made['key_id']}"
    return IssuedKey(made["key"], made["key_id"], made["user_id"])


async def works(gateway: InProcessGateway, key: IssuedKey) -> bool:
    return (await gateway.request("GET", READ, key)).status_code == 200


def changes(gateway: InProcessGateway) -> list[tuple[str, str | None]]:
    """What the audit log has: each action, and whom or what it is about."""
    return [(entry["action"], entry["key_id"] or entry["user_id"]) for entry in gateway.audit_log()]


def test_there_are_routes_of_operators() -> None:
    assert len(OF_OPERATORS) >= 12


async def test_only_the_scope_admin_opens_a_route(gateway: InProcessGateway, admin: IssuedKey) -> None:
    others = [gateway.new_key(email=f"{scope}@x", scopes=frozenset({scope})) for scope in SCOPES if scope != "admin"]
    others.append(gateway.new_key(email="most@x", scopes=frozenset(SCOPES) - {"admin"}))
    for method, path in OF_OPERATORS:
        own = path.replace("users/{id}", f"users/{admin.user_id}").replace("keys/{id}", f"keys/{admin.key_id}")
        assert_problem(await gateway.request(method, own), 401)
        for other in others:
            refused = await gateway.request(method, own, other, json={"disabled": True})
            assert "'admin'" in assert_problem(refused, 403)["detail"]
    assert changes(gateway) == []
    assert await works(gateway, admin)


async def test_a_user_is_created_with_a_key_that_works(gateway: InProcessGateway, admin: IssuedKey) -> None:
    order = {"email": "Ada@Example.org", "name": "laptop", "limits": ["60/minute", "5000/30d"], "expires_in": "30d"}
    answer = await gateway.request("POST", KEYS, admin, json=order, address="198.51.100.7")
    made = answer.json()
    assert answer.status_code == 201
    assert (made["scopes"], made["limits"]) == (["classify", "usage"], ["60/minute", "5000/2592000s"])
    assert made["expires_at"] == "2023-12-14T22:13:20Z"
    key = IssuedKey(made["key"], made["key_id"], made["user_id"])
    assert await works(gateway, key)
    [entry] = gateway.audit_log()
    assert entry["actor"] == f"key {admin.key_id} from 198.51.100.7"
    assert (entry["action"], entry["key_id"]) == ("create", key.key_id)
    again = await created(gateway, admin, user_id=key.user_id, scopes=["metrics"])
    shown = (await gateway.request("GET", f"{KEYS}/{again.key_id}", admin)).json()
    assert (shown["email"], shown["scopes"], shown["state"]) == ("ada@example.org", ["metrics"], "live")
    for one in (key, again):
        listed = await gateway.request("GET", f"{KEYS}?user=ADA@example.org", admin)
        assert one.text.rpartition("_")[2] not in listed.text
    assert {one["key_id"] for one in listed.json()["data"]} == {key.key_id, again.key_id}


async def test_a_user_is_created_read_and_found(gateway: InProcessGateway, admin: IssuedKey) -> None:
    answer = await gateway.request("POST", USERS, admin, json={"email": "Ada@Example.org"})
    assert answer.status_code == 201
    made = answer.json()
    assert made == {
        "user_id": made["user_id"],
        "email": "ada@example.org",
        "state": "live",
        "limits": ["5/minute"],
        "quotas": [],
        "plan": None,
        "created_at": "2023-11-14T22:13:20Z",
        "disabled_at": None,
        "stripe_customer": None,
        "stripe_from": None,
    }
    assert answer.headers["location"] == f"{USERS}/{made['user_id']}"
    read = await gateway.request("GET", answer.headers["location"], admin)
    assert read.json() == made
    assert read.headers["etag"]
    found = await gateway.request("GET", f"{USERS}?email=ADA@example.org", admin)
    assert found.json() == {"data": [made], "next_cursor": None}
    again = await gateway.request("POST", USERS, admin, json={"email": "ADA@example.org"})
    assert made["user_id"] in assert_problem(again, 409)["detail"]
    assert changes(gateway) == [("create-user", made["user_id"])]


async def test_a_user_gets_a_customer_of_stripe(gateway: InProcessGateway, admin: IssuedKey, key: IssuedKey) -> None:
    path = f"{USERS}/{key.user_id}"

    async def change(**fields: Any) -> tuple[str | None, str | None]:
        answer = await gateway.request("PATCH", path, admin, json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["stripe_customer"], answer.json()["stripe_from"]

    # By default from the next hour on; and the hour stays.
    assert await change(stripe_customer="cus_1") == ("cus_1", "2023-11-14T23:00:00Z")
    assert await change(stripe_customer="cus_2") == ("cus_2", "2023-11-14T23:00:00Z")
    assert await change(stripe_customer="cus_2", stripe_from="2023-11-01") == ("cus_2", "2023-11-01T00:00:00Z")
    assert await change(disabled=False) == ("cus_2", "2023-11-01T00:00:00Z")
    assert await change(stripe_customer=None) == (None, None)
    assert changes(gateway) == [("set-customer", key.user_id)] * 4
    for wrong, field in (
        ({"stripe_customer": "ada"}, "stripe_customer"),
        ({"stripe_from": "2023-11-01"}, "stripe_customer"),
        ({"stripe_customer": None, "stripe_from": "2023-11-01"}, "stripe_customer"),
        ({"stripe_customer": "cus_1", "stripe_from": "2023-11-01T00:30:00Z"}, "stripe_from"),
        ({"stripe_customer": "cus_1", "stripe_from": "2023-10-01"}, "stripe_from"),
        ({"stripe_customer": "cus_1", "stripe_from": "0001-01-01T00:00:00+23:00"}, "stripe_from"),
    ):
        answer = await gateway.request("PATCH", path, admin, json=wrong)
        assert assert_problem(answer, 422)["field"] == field


async def test_a_user_is_renamed_limited_disabled_and_enabled(
    gateway: InProcessGateway, admin: IssuedKey, key: IssuedKey
) -> None:
    path = f"{USERS}/{key.user_id}"
    etag = (await gateway.request("GET", path, admin)).headers["etag"]
    change = {"email": "New@example.org", "limits": ["7/minute", "9/day"], "disabled": True}
    answer = await gateway.request("PATCH", path, admin, json=change)
    changed = answer.json()
    assert answer.status_code == 200
    assert (changed["email"], changed["limits"]) == ("new@example.org", ["7/minute", "9/day"])
    assert (changed["state"], changed["disabled_at"]) == ("disabled", "2023-11-14T22:13:20Z")
    assert not await works(gateway, key)
    assert (
        "disabled" in assert_problem(await gateway.request("POST", f"{KEYS}/{key.key_id}/rotate", admin), 409)["detail"]
    )
    stale = await gateway.request("PATCH", path, admin, json={"disabled": False}, headers={"If-Match": etag})
    assert "GET it again" in assert_problem(stale, 412)["detail"]
    current = {"If-Match": f'"other", {answer.headers["etag"]}'}
    assert (await gateway.request("PATCH", path, admin, json={"disabled": False}, headers=current)).status_code == 200
    assert await works(gateway, key)
    # What is so already is no change.
    same = {"email": "NEW@example.org", "limits": ["7/60s", "9/day"], "disabled": False}
    for body in (same, {}):
        answer = await gateway.request("PATCH", path, admin, json=body, headers={"If-Match": "*"})
        assert answer.status_code == 200
    assert [action for action, _ in changes(gateway)] == ["rename", "set-limit", "disable", "enable"]
    others = await gateway.request("PATCH", path, admin, json={"email": "admin@example.org", "disabled": True})
    assert "another user" in assert_problem(others, 409)["detail"]
    assert await works(gateway, key), "a refused change is not half made"


async def test_an_erased_user_is_gone_but_for_its_usage(
    gateway: InProcessGateway, admin: IssuedKey, key: IssuedKey
) -> None:
    assert await works(gateway, key)
    path = f"{USERS}/{key.user_id}"
    for _ in range(2):
        answer = await gateway.request("DELETE", path, admin)
        assert (answer.status_code, answer.content) == (204, b"")
    assert not await works(gateway, key)
    read = (await gateway.request("GET", path, admin)).json()
    assert (read["email"], read["state"]) == (key.user_id, "erased")
    assert_problem(await gateway.request("PATCH", path, admin, json={"disabled": True}), 409)
    assert_problem(await gateway.request("POST", KEYS, admin, json={"user_id": key.user_id}), 409)
    usage = (await gateway.request("GET", f"/v2/admin/usage?user={key.user_id}", admin)).json()
    assert sum(bucket["requests"] for bucket in usage["data"]) == 1
    assert changes(gateway) == [("erase", key.user_id)]
    assert "caller@example.org" not in (await gateway.request("GET", "/v2/admin/audit", admin)).text


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


WRONG = [
    ("POST", USERS, {}, "email"),
    ("POST", USERS, {"email": 5}, "email"),
    ("POST", USERS, {"email": "nobody"}, "email"),
    ("POST", USERS, {"email": "a\u0000@b"}, "email"),
    ("POST", USERS, {"email": "a@" + "b" * 320}, "email"),
    ("POST", USERS, {"email": "a@b", "limits": []}, "limits"),
    ("POST", USERS, {"email": "a@b", "limits": "5/minute"}, "limits"),
    ("POST", USERS, {"email": "a@b", "limits": ["5/month"]}, "limits"),
    ("POST", USERS, {"email": "a@b", "limits": ["5/minute", "6/60s"]}, "limits"),
    ("POST", USERS, {"email": "a@b", "limits": ["5/minute"] * 11}, "limits"),
    ("POST", USERS, {"email": "a@b", "colour": "red"}, "colour"),
    ("POST", USERS, {"email": "a@b", "x" * 5000: 1}, "x" * 60),
    ("POST", USERS, [], "body"),
    ("PATCH", USERS + "/{user}", {"email": None}, "email"),
    ("PATCH", USERS + "/{user}", {"disabled": "yes"}, "disabled"),
    ("PATCH", USERS + "/{user}", {"disabled": 1}, "disabled"),
    ("PATCH", USERS + "/{user}", {"state": "erased"}, "state"),
    ("PATCH", USERS + "/{user}", {"plan": "none-such"}, "plan"),
    ("PATCH", USERS + "/{user}", {"plan": 5}, "plan"),
    ("PATCH", USERS + "/{user}", {"drop_own": True}, "drop_own"),
    ("PATCH", USERS + "/{user}", {"quotas": ["5/year"]}, "quotas"),
    ("PATCH", USERS + "/{user}", {"quotas": ["5/day", "6/day"]}, "quotas"),
    ("POST", PLANS, {}, "name"),
    ("POST", PLANS, {"name": "two words"}, "name"),
    ("POST", PLANS, {"name": "pro", "price": "1.50"}, "currency"),
    ("POST", PLANS, {"name": "pro", "currency": "EUR"}, "price"),
    ("POST", PLANS, {"name": "pro", "price": 1.5, "currency": "EUR"}, "price"),
    ("POST", PLANS, {"name": "pro", "price": "1,50", "currency": "EUR"}, "price"),
    ("POST", PLANS, {"name": "pro", "price": "1", "currency": "EURO"}, "currency"),
    ("POST", PLANS, {"name": "pro", "price": "1", "currency": "EUR", "from": "0001-01-01"}, "from"),
    ("POST", PLANS, {"name": "pro", "price": "1", "currency": "EUR", "from": 2030}, "from"),
    ("POST", PLANS, {"name": "pro", "from": "2030-01-01T00:00:00Z"}, "price"),
    ("POST", PLANS, {"name": "pro", "limits": ["5/month"]}, "limits"),
    ("POST", KEYS, {}, "email"),
    ("POST", KEYS, {"email": "a@b", "user_id": "usr_1"}, "email"),
    ("POST", KEYS, {"user_id": "usr_unknown"}, "user_id"),
    ("POST", KEYS, {"user_id": "imc_AAAAAAAAAAAA_secret"}, "user_id"),
    ("POST", KEYS, {"email": "a@b", "scopes": ["root"]}, "scopes"),
    ("POST", KEYS, {"email": "a@b", "scopes": []}, "scopes"),
    ("POST", KEYS, {"email": "a@b", "name": "two\nlines"}, "name"),
    ("POST", KEYS, {"email": "a@b", "name": "n" * 101}, "name"),
    ("POST", KEYS, {"email": "a@b", "expires_in": "soon"}, "expires_in"),
    ("POST", KEYS, {"email": "a@b", "expires_in": 0}, "expires_in"),
    ("POST", KEYS, {"email": "a@b", "expires_in": True}, "expires_in"),
    ("POST", KEYS + "/{key}/rotate", {"grace": "1h", "more": 1}, "more"),
    ("GET", USERS + "?limit=0", None, "limit"),
    ("GET", USERS + "?limit=101", None, "limit"),
    ("GET", USERS + "?cursor=usr_unknown", None, "cursor"),
    ("GET", USERS + "?email=nobody", None, "email"),
    ("GET", KEYS + "?cursor=unknown", None, "cursor"),
    ("GET", KEYS + "?user=%00", None, "user"),
    ("GET", KEYS + "?state=lost", None, "state"),
    ("GET", "/v2/admin/audit?cursor=x", None, "cursor"),
    ("GET", "/v2/admin/audit?cursor=99999999999999999999", None, "cursor"),
    ("GET", "/v2/admin/usage", None, "user"),
    ("GET", "/v2/admin/usage?user=admin@example.org&from=2026-01-02&to=2026-01-01", None, "from"),
    ("GET", "/v2/admin/usage?user=admin@example.org&bucket=year", None, "bucket"),
]


async def test_a_wrong_field_is_named_and_changes_nothing(gateway: InProcessGateway, admin: IssuedKey) -> None:
    for method, wrong, body, field in WRONG:
        path = wrong.replace("{key}", admin.key_id).replace("{user}", admin.user_id)
        options: dict[str, Any] = {} if body is None else {"json": body}
        answer = await gateway.request(method, path, admin, **options)
        assert answer.status_code == 422, (method, path, body)
        problem = assert_problem(answer, 422)
        assert problem["field"].partition(".")[0] == field
        assert len(problem["detail"]) < 300
        assert "Value error" not in problem["detail"]
        assert "_secret" not in problem["detail"]
    assert changes(gateway) == []


async def test_what_is_no_json_is_refused(gateway: InProcessGateway, admin: IssuedKey) -> None:
    for method, path in (("POST", USERS), ("PATCH", f"{USERS}/{admin.user_id}"), ("POST", KEYS)):
        assert_problem(await gateway.request(method, path, admin), 400)
        assert_problem(await gateway.request(method, path, admin, content=b'{"email": '), 400)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert_problem(await gateway.request(method, path, admin, content=b"email=a@b", headers=form), 415)


async def test_what_there_is_not_is_404(gateway: InProcessGateway, admin: IssuedKey) -> None:
    asked = [("GET", f"{KEYS}/x"), ("DELETE", f"{KEYS}/x"), ("POST", f"{KEYS}/x/rotate")]
    asked += [
        (method, f"{USERS}/{user}") for method in ("GET", "PATCH", "DELETE") for user in ("x", "admin@example.org")
    ]
    asked += [("GET", f"{PLANS}/x"), ("PATCH", f"{PLANS}/x"), ("GET", "/v2/admin/usage?user=usr_x")]
    for method, path in asked:
        options: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
        answer = await gateway.request(method, path, admin, **options)
        assert "lists all" in assert_problem(answer, 404)["detail"], path


async def test_pages_follow_each_other_without_gap_or_repetition(gateway: InProcessGateway, admin: IssuedKey) -> None:
    for number in range(6):
        await created(gateway, admin, email=f"user{number}@example.org")
    for path, name in ((USERS, "user_id"), (KEYS, "key_id"), ("/v2/admin/audit", "id")):
        whole = [one[name] for one in (await gateway.request("GET", path, admin)).json()["data"]]
        assert len(set(whole)) == (6 if name == "id" else 7)
        read: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await gateway.request("GET", f"{path}?limit=3{cursor}", admin)).json()
            assert len(page["data"]) in (1, 3)
            read += [one[name] for one in page["data"]]
            cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
        assert read == whole


async def test_the_usage_of_any_user_is_shown(gateway: InProcessGateway, admin: IssuedKey, key: IssuedKey) -> None:
    assert (await gateway.request("POST", "/v1/classify", key, json=BODY)).status_code == 200
    own = (await gateway.request("GET", "/v2/usage?endpoint=/v1/classify", key)).json()
    shown = (
        await gateway.request("GET", "/v2/admin/usage?user=Caller@example.org&endpoint=/v1/classify", admin)
    ).json()
    assert (shown["user_id"], shown["email"]) == (key.user_id, "caller@example.org")
    assert shown["all_time"] == {"requests": 1, "images": 1, "billable_images": 1, "cost": None}
    assert shown["total"] == own["total"]
    assert shown["data"] == own["data"]
    assert shown["data"][0]["images"] == 1


async def test_a_plan_is_made_changed_and_given_to_a_user(
    gateway: InProcessGateway, admin: IssuedKey, key: IssuedKey
) -> None:
    order = {"name": "pro", "limits": ["600/minute"], "quotas": ["1000/month"], "price": "1.50", "currency": "eur"}
    answer = await gateway.request("POST", PLANS, admin, json=order)
    assert (answer.status_code, answer.headers["location"]) == (201, f"{PLANS}/pro")
    first = {"price": "1.50", "currency": "EUR", "from": "2023-11-14T22:13:20Z"}
    assert answer.json() == {
        "name": "pro",
        "limits": ["600/minute"],
        "quotas": ["1000/month"],
        "prices": [first],
        "created_at": "2023-11-14T22:13:20Z",
    }
    assert_problem(await gateway.request("POST", PLANS, admin, json=order), 409)
    etag = (await gateway.request("GET", f"{PLANS}/pro", admin)).headers["etag"]
    change = {"quotas": ["2000/month"], "price": "1.20", "currency": "EUR", "from": "2030-01-01"}
    changed = await gateway.request("PATCH", f"{PLANS}/pro", admin, json=change, headers={"If-Match": etag})
    assert changed.status_code == 200, changed.text
    assert changed.json()["quotas"] == ["2000/month"]
    assert changed.json()["prices"] == [first, {"price": "1.20", "currency": "EUR", "from": "2030-01-01T00:00:00Z"}]
    stale = await gateway.request("PATCH", f"{PLANS}/pro", admin, json={"limits": []}, headers={"If-Match": etag})
    assert_problem(stale, 412)
    other = {"price": "1", "currency": "USD"}
    assert_problem(await gateway.request("PATCH", f"{PLANS}/pro", admin, json=other), 409)

    user = f"{USERS}/{key.user_id}"
    given = (await gateway.request("PATCH", user, admin, json={"plan": "pro", "drop_own": True})).json()
    assert (given["plan"], given["limits"], given["quotas"]) == ("pro", ["600/minute"], ["2000/month"])
    own = (await gateway.request("PATCH", user, admin, json={"quotas": ["50/day"], "limits": ["600/60s"]})).json()
    assert (own["plan"], own["limits"], own["quotas"]) == ("pro", ["600/minute"], ["50/day"])
    await gateway.request("PATCH", f"{PLANS}/pro", admin, json={"limits": ["1/minute"]})
    assert (await gateway.request("GET", user, admin)).json()["limits"] == ["600/minute"], "its own stay"
    taken = (await gateway.request("PATCH", user, admin, json={"plan": None, "quotas": []})).json()
    assert (taken["plan"], taken["quotas"]) == (None, [])
    assert [action for action, _ in changes(gateway)] == [
        *("plan-create", "plan-set-quota", "plan-set-price", "plan-assign", "set-limit", "set-quota"),
        *("plan-set-limit", "plan-unassign", "set-quota"),
    ]


async def test_it_costs_no_hit_and_has_a_usage_row(gateway: InProcessGateway, admin: IssuedKey) -> None:
    await created(gateway, admin, email="a@example.org")
    await gateway.request("GET", f"{USERS}/usr_x", admin)
    rows = [(row["method"], row["endpoint"], row["status"], row["images"]) for row in gateway.usage_rows()]
    assert rows == [("POST", KEYS, 201, 0), ("GET", USERS + "/{id}", 404, 0)]
    assert gateway.hits() == 0


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
