"""`/v2/admin`: who may not ask there, and what is refused to operators."""

from typing import Any

import pytest

from api.routes import ROUTES
from auth.identity import SCOPES
from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from tests.fast.administering import KEYS, PLANS, USERS, admin, changes, without_waiting, works

__all__ = ["admin", "without_waiting"]

pytestmark = pytest.mark.anyio
OF_OPERATORS = [(route.methods[0], route.path) for route in ROUTES if route.path.startswith("/v2/admin/")]


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
    *(
        ("POST", PLANS, {"name": "far", "price": "1", "currency": "EUR", "from": time}, "from")
        for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-12:00", "9999-12-31T23:59:59.999998Z")
    ),
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
    ("GET", USERS + "?limit=1_0", None, "limit"),
    ("GET", USERS + "?cursor=usr_unknown", None, "cursor"),
    ("GET", USERS + "?email=nobody", None, "email"),
    ("GET", KEYS + "?cursor=unknown", None, "cursor"),
    ("GET", KEYS + "?user=%00", None, "user"),
    ("GET", KEYS + "?state=lost", None, "state"),
    ("GET", "/v2/admin/audit?cursor=x", None, "cursor"),
    ("GET", "/v2/admin/audit?cursor=1_0", None, "cursor"),
    ("GET", "/v2/admin/audit?order=up", None, "order"),
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


async def test_a_key_in_the_place_of_a_name_is_not_repeated(gateway: InProcessGateway, admin: IssuedKey) -> None:
    for name in (admin.text, f"Bearer {admin.text}", admin.text.removeprefix("imc_")):
        answer = await gateway.request("POST", KEYS, admin, json={"email": "a@b", name: 1})
        assert "imc_..." in assert_problem(answer, 422)["field"]
        assert admin.text.split("_")[2][:20] not in answer.text


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
