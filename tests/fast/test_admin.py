"""`/v2/admin`: what operators do with users and plans over HTTP."""

from typing import Any

import pytest

from testing.callers import BODY
from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from tests.fast.administering import KEYS, PLANS, USERS, admin, changes, created, without_waiting, works

__all__ = ["admin", "without_waiting"]

pytestmark = pytest.mark.anyio


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
        ({"stripe_customer": "cus_1", "stripe_from": "9999-12-31T23:00:00-12:00"}, "stripe_from"),
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


async def test_what_was_changed_meanwhile_is_neither_erased_nor_revoked(
    gateway: InProcessGateway, admin: IssuedKey, key: IssuedKey
) -> None:
    user, one_key = f"{USERS}/{key.user_id}", f"{KEYS}/{key.key_id}"
    known = {path: (await gateway.request("GET", path, admin)).headers["etag"] for path in (one_key, user)}
    await gateway.request("PATCH", user, admin, json={"limits": ["7/minute"]})
    for path, etag in known.items():
        stale = await gateway.request("DELETE", path, admin, headers={"If-Match": etag})
        assert "GET it again" in assert_problem(stale, 412)["detail"]
    assert await works(gateway, key)
    for path in known:
        current = {"If-Match": (await gateway.request("GET", path, admin)).headers["etag"]}
        # Once more, as after a lost answer.
        for _ in range(2):
            assert (await gateway.request("DELETE", path, admin, headers=current)).status_code == 204
    assert [action for action, _ in changes(gateway)] == ["set-limit", "revoke", "erase"]


async def test_pages_follow_each_other_without_gap_or_repetition(gateway: InProcessGateway, admin: IssuedKey) -> None:
    for number in range(6):
        await created(gateway, admin, email=f"user{number}@example.org")
    newest_first = "/v2/admin/audit?order=newest"
    for path, name in ((USERS, "user_id"), (KEYS, "key_id"), ("/v2/admin/audit", "id"), (newest_first, "id")):
        whole = [one[name] for one in (await gateway.request("GET", path, admin)).json()["data"]]
        if name == "id":
            assert whole == sorted(whole, reverse=path == newest_first)
        assert len(set(whole)) == (6 if name == "id" else 7)
        read: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            joined = "&" if "?" in path else "?"
            page = (await gateway.request("GET", f"{path}{joined}limit=3{cursor}", admin)).json()
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
    twice = assert_problem(await gateway.request("POST", PLANS, admin, json=order), 409)
    assert f"GET {PLANS}/pro" in twice["detail"], "an operator of the API has no command line"
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


async def test_limits_that_are_set_to_the_default_ones_go_before_those_of_a_later_plan(
    gateway: InProcessGateway, admin: IssuedKey
) -> None:
    await gateway.request("POST", PLANS, admin, json={"name": "pro", "limits": ["600/minute"]})
    made = (await gateway.request("POST", USERS, admin, json={"email": "ada@example.org"})).json()
    user = f"{USERS}/{made['user_id']}"
    for change in ({"limits": made["limits"]}, {"limits": made["limits"]}, {"plan": "pro"}):
        changed = await gateway.request("PATCH", user, admin, json=change)
        assert changed.json()["limits"] == made["limits"]
    assert [action for action, _ in changes(gateway)][-2:] == ["set-limit", "plan-assign"]


async def test_it_costs_no_hit_and_has_a_usage_row(gateway: InProcessGateway, admin: IssuedKey) -> None:
    await created(gateway, admin, email="a@example.org")
    await gateway.request("GET", f"{USERS}/usr_x", admin)
    rows = [(row["method"], row["endpoint"], row["status"], row["images"]) for row in gateway.usage_rows()]
    assert rows == [("POST", KEYS, 201, 0), ("GET", USERS + "/{id}", 404, 0)]
    assert gateway.hits() == 0
