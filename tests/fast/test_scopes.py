"""What opens each route of the table, and that no user reaches, sees or changes what is another's."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from api.routes import ROUTES
from auth.identity import SCOPES
from testing.colour_model import NAME, image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from tests.answers import assert_problem

pytestmark = pytest.mark.anyio

IMAGE = as_base64(image_of("red"))
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ANY_KEY = "any key"
# Every user may read what the service serves; what a path of users, keys or plans names is somebody's.
OF_ALL = {"/models/{name:path}", "/v2/models/{name:path}"}
UNKNOWN = "AAAAAAAAAAAA"


@dataclass(frozen=True)
class Ask:
    """A request that a route takes.

    Attributes:
        scope: the one scope that opens the route; or `ANY_KEY`.
        status: the answer for whom it opens.
        body: sent as JSON.
        query: sent after the path.
    """

    scope: str
    status: int = 200
    body: Any = None
    query: str = ""


# Every route that needs a key. A new one needs a line here, of what its author wants it to need.
ROUTES_BY_NEED = {
    ("POST", "/v1/classify"): Ask("classify", body={"image": IMAGE}),
    ("POST", "/v2/classify"): Ask("classify", body={"image": IMAGE}),
    ("POST", "/v2/classify/batch"): Ask("classify", body={"images": [IMAGE]}),
    ("GET", "/v2/stream"): Ask("classify", 426),
    ("POST", "/models/{name:path}"): Ask("classify", body={"inputs": IMAGE}),
    ("POST", "/mcp"): Ask(ANY_KEY, body=PING),
    ("GET", "/v1/model/info"): Ask(ANY_KEY),
    ("GET", "/v2/models"): Ask(ANY_KEY),
    ("GET", "/v2/models/{name:path}"): Ask(ANY_KEY),
    ("GET", "/v1/usage"): Ask("usage"),
    ("GET", "/v2/usage"): Ask("usage"),
    ("GET", "/v2/limits"): Ask("usage"),
    ("GET", "/v2/keys"): Ask("keys"),
    ("DELETE", "/v2/keys/self"): Ask(ANY_KEY, 204),
    ("DELETE", "/v2/keys/{id}"): Ask("keys", 404),
    ("POST", "/v2/keys/{id}/rotate"): Ask("keys", 404),
    ("GET", "/v2/admin/users"): Ask("admin"),
    ("POST", "/v2/admin/users"): Ask("admin", 201, {"email": "new@example.org"}),
    ("GET", "/v2/admin/users/{id}"): Ask("admin"),
    ("PATCH", "/v2/admin/users/{id}"): Ask("admin", body={"disabled": True}),
    ("DELETE", "/v2/admin/users/{id}"): Ask("admin", 204),
    ("GET", "/v2/admin/keys"): Ask("admin"),
    ("POST", "/v2/admin/keys"): Ask("admin", 201, {"email": "new@example.org"}),
    ("GET", "/v2/admin/keys/{id}"): Ask("admin"),
    ("DELETE", "/v2/admin/keys/{id}"): Ask("admin", 204),
    ("POST", "/v2/admin/keys/{id}/rotate"): Ask("admin", 201),
    ("GET", "/v2/admin/plans"): Ask("admin"),
    ("POST", "/v2/admin/plans"): Ask("admin", 201, {"name": "new"}),
    ("GET", "/v2/admin/plans/{name}"): Ask("admin"),
    ("PATCH", "/v2/admin/plans/{name}"): Ask("admin", body={"quotas": ["5/month"]}),
    ("GET", "/v2/admin/usage"): Ask("admin", query="?user=owner@example.org"),
    ("GET", "/v2/admin/audit"): Ask("admin"),
    ("GET", "/metrics"): Ask("metrics"),
    ("HEAD", "/metrics"): Ask("metrics"),
}
OPEN_TO_ALL = {"/", "/livez", "/readyz", "/healthz", "/docs", "/openapi.json", "/docs.json", "/schema.json"}
# The user's own things: what a path with a parameter names, and no operator is needed for.
OWN = [one for one, ask in ROUTES_BY_NEED.items() if "{" in one[1] and ask.scope != "admin" and one[1] not in OF_ALL]
READS = [
    (path, ask)
    for (method, path), ask in ROUTES_BY_NEED.items()
    if method == "GET" and ask.scope != "admin" and path != "/v2/stream"
]


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers remember no key, so that a change is in force at once."""
    monkeypatch.setattr("storage.store.KEY_MEMORY_S", 0.0)


@pytest.fixture
async def owner(gateway: InProcessGateway) -> IssuedKey:
    """Whose things the others ask for. Nobody else has used the service, and there is an operator apart from it."""
    gateway.new_key(email="operator@example.org", scopes=frozenset({"admin"}))
    key = gateway.new_key(email="owner@example.org")
    answer = await gateway.request("POST", "/v1/classify", key, json={"image": IMAGE})
    assert answer.status_code == 200
    return key


@pytest.fixture
async def plan(gateway: InProcessGateway, owner: IssuedKey) -> str:
    """The plan of the owner."""
    operator = gateway.new_key(email="operator@example.org", scopes=frozenset({"admin"}))
    made = await gateway.request("POST", "/v2/admin/plans", operator, json={"name": "owners"})
    assert made.status_code == 201
    path = f"/v2/admin/users/{owner.user_id}"
    assert (await gateway.request("PATCH", path, operator, json={"plan": "owners"})).status_code == 200
    return "owners"


def path_to(path: str, key: IssuedKey, plan: str = "", key_id: str | None = None) -> str:
    """The path with the model that is served, and with the things of that key's user."""
    path = path.replace("{name:path}", NAME).replace("{name}", plan).replace("users/{id}", f"users/{key.user_id}")
    return path.replace("{id}", key.key_id if key_id is None else key_id)


async def send(
    gateway: InProcessGateway, method: str, path: str, ask: Ask, key: IssuedKey | None = None
) -> httpx.Response:
    options = {} if ask.body is None else {"json": ask.body}
    return await gateway.request(method, path + ask.query, key, **options)


def test_every_route_has_its_line() -> None:
    with_key = {(method, route.path) for route in ROUTES if not route.is_public for method in route.methods}
    assert with_key == ROUTES_BY_NEED.keys(), "say above what opens a new route, and what it answers"
    public = {route.path for route in ROUTES if route.is_public}
    assert {path for path in public if not path.startswith("/static_content/")} == OPEN_TO_ALL
    assert len(OWN) >= 2


@pytest.mark.parametrize("one", ROUTES_BY_NEED, ids=" ".join)
async def test_a_route_opens_for_its_scope_alone(
    gateway: InProcessGateway, owner: IssuedKey, plan: str, one: tuple[str, str]
) -> None:
    (method, path), ask = one, ROUTES_BY_NEED[one]
    path = path_to(path, owner, plan)
    before = gateway.audit_log()
    opening = [scope for scope in SCOPES if ask.scope in (scope, ANY_KEY)]
    refused = [frozenset({scope}) for scope in SCOPES if scope not in opening]
    # Nor do all others together.
    refused += [frozenset(SCOPES) - set(opening)] if len(refused) > 1 else []
    assert (await send(gateway, method, path, ask)).status_code == 401
    for number, scopes in enumerate(refused):
        lesser = gateway.new_key(email=f"lesser{number}@example.org", scopes=scopes)
        answer = await send(gateway, method, path, ask, lesser)
        assert answer.status_code == 403, (scopes, answer.text)
        assert answer.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{ask.scope}"'
        row = gateway.usage_rows()[-1]
        assert (row["user_id"], row["status"], row["images"], row["billable"]) == (lesser.user_id, 403, 0, 0)
        if ask.status == 426:
            assert_problem(await gateway.web_socket(path, lesser).refused(), 403)
    assert gateway.audit_log() == before
    assert gateway.hits() == 1
    for number, scope in enumerate(opening):
        holder = gateway.new_key(email=f"holder{number}@example.org", scopes=frozenset({scope}))
        answer = await send(gateway, method, path, ask, holder)
        assert answer.status_code == ask.status, (scope, answer.text)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.is_public], ids=lambda route: route.path)
async def test_what_is_open_to_all_refuses_no_key(gateway: InProcessGateway, route: Any) -> None:
    """The gateway in this process lacks the routes of BentoML itself: 404 is their answer here."""
    keys = [gateway.new_key(email=f"{scope}@example.org", scopes=frozenset({scope})) for scope in SCOPES]
    for key in (None, *keys):
        for method in route.methods:
            assert (await gateway.request(method, route.path, key)).status_code in (200, 404)
    assert gateway.usage_rows() == []


@pytest.mark.parametrize("one", OWN, ids=" ".join)
async def test_what_is_anothers_is_as_unknown_as_what_is_not(
    gateway: InProcessGateway, owner: IssuedKey, one: tuple[str, str]
) -> None:
    """Whatever state it is in, and whatever else the key that asks may do: 404, and neither 403 nor 409."""
    _, path = one
    things = {
        "live": owner,
        "strong": gateway.new_key(email="owner@example.org", scopes=frozenset(SCOPES)),
        "revoked": gateway.new_key(email="owner@example.org"),
        "expired": gateway.new_key(email="owner@example.org", expires_in_s=-1),
        "disabled": gateway.new_key(email="gone@example.org"),
    }
    gateway.revoke(things["revoked"])
    gateway.disable(things["disabled"])
    askers = [
        gateway.new_key(email=f"asker{len(scopes)}@example.org", scopes=frozenset(scopes))
        for scopes in ({"keys"}, {"keys", "admin"}, SCOPES)
    ]
    before = gateway.audit_log()
    for asker in askers:
        for method in ALL_METHODS:
            unknown = await gateway.request(method, path_to(path, owner, key_id=UNKNOWN), asker)
            assert unknown.status_code == (404 if (method, path) in ROUTES_BY_NEED else 405)
            for state, thing in things.items():
                answer = await gateway.request(method, path_to(path, thing), asker)
                assert told(answer) == told(unknown), (method, state)
    assert gateway.audit_log() == before
    assert (await gateway.request("GET", "/v2/models", owner)).status_code == 200


def told(answer: httpx.Response) -> tuple[int, Any]:
    """What an answer says, apart from the request that it is for."""
    if not answer.content:
        return answer.status_code, None
    return answer.status_code, {name: value for name, value in answer.json().items() if name != "request_id"}


@pytest.mark.parametrize("one", OWN, ids=" ".join)
async def test_without_the_scope_ones_own_anothers_and_nothing_look_alike(
    gateway: InProcessGateway, owner: IssuedKey, one: tuple[str, str]
) -> None:
    (method, path), ask = one, ROUTES_BY_NEED[one]
    asker = gateway.new_key(email="asker@example.org", scopes=frozenset(SCOPES) - {ask.scope})
    paths = [path_to(path, asker), path_to(path, owner), path_to(path, owner, key_id=UNKNOWN)]
    answers = [await gateway.request(method, path, asker) for path in paths]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert told(answers[0]) == told(answers[1]) == told(answers[2])


@pytest.mark.parametrize(("path", "ask"), READS, ids=[path for path, _ in READS])
async def test_no_answer_names_another_user(gateway: InProcessGateway, owner: IssuedKey, path: str, ask: Ask) -> None:
    """Not even if the query asks for one, as the routes of operators take it."""
    asker = gateway.new_key(email="asker@example.org", scopes=frozenset(SCOPES) - {"admin"})
    path = path_to(path, asker)
    for query in ("", f"?user={owner.user_id}&user_id={owner.user_id}&email=owner@example.org&key_id={owner.key_id}"):
        answer = await gateway.request("GET", path + query, asker)
        assert answer.status_code == ask.status
        for secret in (owner.user_id, owner.key_id, owner.text, "owner@example.org"):
            assert secret not in answer.text
    if path.endswith("/usage"):
        assert sums_of(answer) == 0, "the owner has classified, and the asker has not"


def sums_of(answer: httpx.Response) -> int:
    """How many images or requests a user's own usage tells of; it counts classifications, not reads."""
    said = json.loads(answer.text)
    if "total_requests" in said:
        return int(said["total_requests"])
    return int(sum(bucket["images"] for bucket in said["data"]) + said["total"]["billable_images"])
