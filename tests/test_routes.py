"""The route table as it runs: what is open to all, what needs a key, and the documents that describe it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.routes import ROUTES
from model.prepared import STAND_IN_NAME
from testing.servers import Server
from tests.answers import assert_problem

PUBLIC = {"/", "/livez", "/readyz", "/healthz", "/openapi.json", "/docs", "/schema.json", "/docs.json"}
STATIC = "/static_content"
# Written out by BentoML's own application, in a process of its own: importing the service reads the environment.
_PRINT_ROUTES = """
import json, sys
from starlette.routing import Mount
from service import ImageClassifier

def walk(routes):
    for route in routes:
        methods = sorted(getattr(route, "methods", None) or [])
        yield [route.path, methods, isinstance(route, Mount)]
        if isinstance(route, Mount):
            yield from walk(getattr(route.app, "routes", []))

print(json.dumps(list(walk(ImageClassifier.to_asgi().app.app.routes))))
"""


@pytest.fixture(scope="module")
def routes(server: Server) -> list[tuple[str, list[str]]]:
    """Path and methods of every route of the application that the server runs."""
    table = json.loads(server.python(_PRINT_ROUTES).splitlines()[-1])
    return [(path, methods) for path, methods, is_mount in table if not is_mount]


def test_the_table_declares_what_the_application_serves(routes: list[tuple[str, list[str]]]) -> None:
    served = {(path, method) for path, methods in routes for method in methods}
    declared = {(route.path, method) for route in ROUTES for method in route.methods}
    assert {row for row in declared if not row[0].startswith(STATIC)} == served
    assert {path for path, _ in served} >= PUBLIC | {"/v2/classify", "/metrics"}, "BentoML's and the mounted app's"


def test_every_route_is_public_or_needs_a_key(server: Server, routes: list[tuple[str, list[str]]]) -> None:
    made_up = [
        ("/nothing", ["GET"]),
        ("/v1", ["POST"]),
        ("/metrics/", ["GET"]),
        ("/v2/models/", ["GET"]),
        ("//", ["GET"]),
    ]
    for path, methods in [*routes, *made_up]:
        for method in {*methods, "GET", "POST"}:
            answer = httpx.request(method, server.url + path.replace("{name:path}", "x"))
            if path in PUBLIC:
                assert answer.status_code != 401, path
            else:
                assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
                if method != "HEAD":
                    assert_problem(answer, 401)


def test_what_is_public_answers(server: Server) -> None:
    for path in PUBLIC | {f"{STATIC}/swagger-ui.css", f"{STATIC}/swagger-ui-bundle.js"}:
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200, path
        assert answer.headers["x-request-id"]
    for outside in ("/static_content/../service.py", "/static_content/%2e%2e/app.py", "/static_content/nothing"):
        assert httpx.get(server.url + outside).status_code in (401, 404)


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    return dict(httpx.get(f"{server.url}/openapi.json").json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_document_describes_every_route(document: dict[str, Any], routes: list[tuple[str, list[str]]]) -> None:
    described = {(path, method.upper()) for path, method, _ in operations(document)}
    pages = {"/", "/docs", "/docs.json", "/openapi.json", "/schema.json", "/mcp"}
    served = {
        (path.replace(":path", ""), method)
        for path, methods in routes
        for method in methods
        if method != "HEAD" and path not in pages
    }
    assert described == served


def test_the_document_names_the_key_and_every_error(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    [scheme] = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, method, operation in operations(document):
        open_to_all = operation.get("security", document["security"]) == []
        assert open_to_all == (path in PUBLIC), path
        errors = {int(status) for status in operation["responses"] if status[0] in "45"}
        assert errors >= ({503} if open_to_all else {401, 403, 503}), path
        if method == "post":
            assert errors >= {400, 413, 415, 422, 429, 504}
            assert all("schema" in content for content in operation["requestBody"]["content"].values())
        for status in errors:
            [(kind, content)] = operation["responses"][str(status)]["content"].items()
            assert kind == "application/problem+json"
            assert content["example"]["status"] == status


def test_its_examples_work(document: dict[str, Any], caller: httpx.Client) -> None:
    sent = 0
    for path, _, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            if "example" in content:
                assert kind == "application/json"
                url = path.replace("{name}", STAND_IN_NAME)
                assert caller.post(url, json=content["example"]).status_code == 200
                sent += 1
    assert sent == 4


def test_bentomls_own_discovery_tells_the_same(server: Server, document: dict[str, Any]) -> None:
    assert httpx.get(f"{server.url}/docs.json").json() == document
    routes = {route["name"]: route for route in httpx.get(f"{server.url}/schema.json").json()["routes"]}
    assert {name: route["route"] for name, route in routes.items()} == {
        "classify": "/v1/classify",
        "classify_v2": "/v2/classify",
        "classify_batch": "/v2/classify/batch",
    }
    assert routes["classify_v2"]["input"]["properties"]["image"]["type"] == "file"


@pytest.mark.alone
@pytest.mark.parametrize("path", ["/schema.json", "/docs.json", "/openapi.json", "/", "/docs"])
def test_strangers_who_ask_for_a_document_have_nothing_worked_out(server: Server, path: str) -> None:
    [worker] = server.workers("ImageClassifier")
    with server.client() as stranger:

        def spent_s() -> float:
            before = worker.cpu_times()
            for _ in range(50):
                assert stranger.get(path).status_code == 200
            after = worker.cpu_times()
            return (after.user + after.system - before.user - before.system) / 50

        # The least of several, since other tests make each instruction slower; to work one out takes longer than that.
        assert min(spent_s() for _ in range(3)) < 0.002


def test_the_page_loads_nothing_from_elsewhere(server: Server) -> None:
    page = httpx.get(f"{server.url}/docs").text
    assert "./openapi.json" in page
    assert "persistAuthorization" in page
    assert "https://" not in page


def test_the_usage_log_and_the_metrics_know_no_made_up_path(server: Server, caller: httpx.Client) -> None:
    caller.get("/v2/models/made-up-by-me")
    caller.get("/made/up/by/me")
    key = server.create_key("metrics3@example.org", "--scope", "metrics")["key"]
    with server.client(key) as client:
        assert "by-me" not in client.get("/metrics").text
