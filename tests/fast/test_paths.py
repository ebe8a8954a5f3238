"""Paths and methods: which are known, what the others answer, and which web pages may call them (CORS)."""

import json

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.routes import ROUTES
from testing.asgi_exchange import Exchange
from testing.colour_model import NAME, image_of
from testing.in_process import InProcessGateway, IssuedKey, authorization
from testing.photographs import as_base64
from tests.answers import assert_problem
from tests.fast.conftest import Start
from web.matching import IS_HANDSHAKE

pytestmark = pytest.mark.anyio

ONE = {"image": as_base64(image_of("red"))}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/v1/usage/",
        "//v1/usage",
        "/v1//usage",
        "/v1/Usage",
        "/v1/usage%0a",
        "/v1/usage%00",
        "/v1/usage\n",
        "/v1/%75sage",
        "/v1/../v1/usage",
        "/v2/models/",
        "/v2/models/a%0ab",
        "/v2/models/a/../b",
    ],
)
async def test_a_path_that_is_not_declared_exactly_is_unknown(
    gateway: InProcessGateway, key: IssuedKey, path: str
) -> None:
    """The test sends each path unchanged; an HTTP client would normalize some of them."""
    for method in ("GET", "POST"):
        exchange = gateway.exchange(path, key, method=method)
        exchange.send(b"", more=False)
        answer = await exchange.answer()
        assert_problem(answer, 404)
        assert "location" not in answer.headers
    assert {row["endpoint"] for row in gateway.usage_rows()} == {"/(unknown)"}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/classify", "POST"),
        ("PUT", "/v2/classify/batch", "POST"),
        ("POST", "/v1/usage", "GET"),
        ("HEAD", "/v2/models", "GET"),
        ("DELETE", f"/v2/models/{NAME}", "GET"),
        ("POST", "/metrics", "GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_take_is_405(
    gateway: InProcessGateway, key: IssuedKey, method: str, path: str, allow: str
) -> None:
    answer = await gateway.request(method, path, key)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(("path", "status"), [("/v1/usage", 405), ("/v2/streams", 404), ("/v2/stream", 426)])
async def test_a_websocket_handshake_is_refused(
    gateway: InProcessGateway, key: IssuedKey, path: str, status: int
) -> None:
    """The server hands a handshake on as a GET request with a mark in its state."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        await gateway.app({**scope, "state": {IS_HANDSHAKE: True}}, receive, send)

    answer = await Exchange(marked, "GET", path, authorization(key)).answer()
    detail = assert_problem(answer, status)["detail"]
    assert ("no WebSocket" in detail) == (status == 405)


async def test_a_public_path_tells_anyone_its_methods(gateway: InProcessGateway) -> None:
    answer = await gateway.request("POST", "/docs")
    assert_problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD"


async def test_the_document_describes_every_route_that_has_a_summary(gateway: InProcessGateway) -> None:
    document = (await gateway.request("GET", "/openapi.json")).json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    expected = {(route.methods[0], route.name) for route in ROUTES if route.summary}
    assert described == expected
    assert json.loads((await gateway.request("GET", "/docs.json")).text) == document


async def test_the_document_suits_generated_clients(gateway: InProcessGateway) -> None:
    document = (await gateway.request("GET", "/openapi.json")).json()
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations if "operationId" in operation]
    assert len(names) == len(set(names))
    parameters = [parameter for operation in operations for parameter in operation.get("parameters", [])]
    by_name = {parameter["name"]: parameter["schema"] for parameter in parameters}
    assert by_name["from"] == {"format": "date-time", "type": "string"}, "a query has no null"
    # Clients send each default, and a model of fewer than 5 labels refuses 5.
    assert "default" not in by_name["top_k"]


async def test_a_cors_preflight_is_answered_without_a_key(start: Start) -> None:
    gateway = await start(cors_origins="https://shop.example")
    asked = {"Access-Control-Request-Method": "POST", "Origin": "https://shop.example"}
    answer = await gateway.request("OPTIONS", "/v1/classify", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    for other in ({**asked, "Origin": "https://evil.example"}, {"Origin": "https://shop.example"}):
        assert_problem(await gateway.request("OPTIONS", "/v1/classify", headers=other), 401)
    assert_problem(await gateway.request("OPTIONS", "/nothing", headers=asked), 401)


async def test_only_pages_of_the_origins_in_the_setting_may_read_an_answer(start: Start) -> None:
    gateway = await start(cors_origins="https://shop.example")
    key = gateway.new_key()
    for origin, allowed in (("https://shop.example", "https://shop.example"), ("https://evil.example", None)):
        answer = await gateway.request("POST", "/v1/classify", key, json=ONE, headers={"Origin": origin})
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.headers["vary"] == "Origin"
        assert ("RateLimit" in answer.headers.get("access-control-expose-headers", "")) == (allowed is not None)


async def test_without_the_setting_no_other_page_may_read_an_answer(gateway: InProcessGateway, key: IssuedKey) -> None:
    answer = await gateway.request("GET", "/v2/models", key, headers={"Origin": "https://shop.example"})
    assert "access-control-allow-origin" not in answer.headers


async def test_the_start_and_the_end_of_the_server_reach_the_app(gateway: InProcessGateway) -> None:
    received = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(received)

    async def send(message: Message) -> None:
        sent.append(message)

    await gateway.app({"type": "lifespan", "app": None, "state": {}}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
