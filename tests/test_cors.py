"""Web pages of other origins: those that the operator names may call the API and read its answers, others may not."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.routes import ROUTES
from testing.callers import BODY
from testing.servers import Server, running
from testing.waiting import LOOKS_EVERY_S
from tests.answers import assert_problem

SHOP, LOCAL = "https://shop.example", "http://localhost:5173"
OTHERS = ["https://elsewhere.example", "http://shop.example", "https://shop.example:8443", "https://a.shop.example"]
OTHERS += ["https://shop.example.evil", "null", "", "https://shop.example/", "*"]
SHOWN = {"ratelimit", "ratelimit-policy", "retry-after", "server-timing", "x-request-id", "www-authenticate"}
SHOWN |= {"idempotency-replayed"}
TAKEN = {"authorization", "content-type", "x-request-id", "idempotency-key", "accept", "user-agent"}
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.fixture(scope="module")
def page() -> Iterator[ThreadingHTTPServer]:
    """A web server of another origin, before there is anything on it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    yield server
    server.server_close()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, model_store: Path, page: ThreadingHTTPServer) -> Iterator[Server]:
    """A server that some pages may call."""
    origins = f"{SHOP}, HTTP://LOCALHOST:5173,http://127.0.0.1:{page.server_port}"
    with running(tmp_path_factory.mktemp("cors") / "it", model_store, CLASSIFIER_CORS_ORIGINS=origins) as server:
        yield server


@pytest.fixture(scope="module")
def key(opened: Server) -> str:
    return str(opened.create_key("page@example.org", "--limit", "1000000/minute")["key"])


def listed(value: str) -> set[str]:
    return {one.strip().lower() for one in value.split(",")}


def assert_readable(answer: httpx.Response, origin: str) -> None:
    assert answer.headers.get_list("access-control-allow-origin") == [origin]
    assert listed(answer.headers["access-control-expose-headers"]) >= SHOWN
    assert "access-control-allow-credentials" not in answer.headers
    assert "origin" in listed(answer.headers["vary"])


def assert_unreadable(answer: httpx.Response) -> None:
    assert [name for name in answer.headers if name.startswith("access-control-")] == []


def test_a_page_may_use_every_header_that_is_documented(opened: Server) -> None:
    paths = httpx.get(opened.url + "/openapi.json").json()["paths"]
    operations = [one for path in paths.values() for one in path.values() if "responses" in one]
    sent = {given["name"] for one in operations for given in one.get("parameters", []) if given["in"] == "header"}
    read = {name for one in operations for answer in one["responses"].values() for name in answer.get("headers", {})}
    assert {"If-Match", "Idempotency-Key"} <= sent
    assert {"ETag", "Location", "RateLimit"} <= read
    asks = ASKS | {"Origin": SHOP}
    allowed = httpx.options(opened.url + "/v2/classify", headers=asks).headers["access-control-allow-headers"]
    assert {name.lower() for name in sent} <= listed(allowed)
    shown = httpx.get(opened.url + "/livez", headers={"Origin": SHOP}).headers["access-control-expose-headers"]
    assert {name.lower() for name in read} <= listed(shown)


@pytest.mark.parametrize("origin", [SHOP, LOCAL])
def test_a_page_that_is_named_is_told_what_it_may_send(opened: Server, origin: str) -> None:
    for route in ROUTES:
        path = route.path.replace("{name:path}", "microsoft/resnet-18")
        for method in route.methods:
            asks = ASKS | {"Origin": origin, "Access-Control-Request-Method": method}
            answer = httpx.options(opened.url + path, headers=asks)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == origin
            assert method in answer.headers["access-control-allow-methods"].split(", ")
            assert listed(answer.headers["access-control-allow-headers"]) >= TAKEN
            assert int(answer.headers["access-control-max-age"]) > 0
            assert "access-control-allow-credentials" not in answer.headers
            assert "origin" in listed(answer.headers["vary"])
            assert answer.headers["x-request-id"]
            assert answer.content == b""


def test_nobody_else_is(opened: Server, key: str) -> None:
    for origin in OTHERS:
        answer = httpx.options(f"{opened.url}/v1/classify", headers=ASKS | {"Origin": origin})
        assert_problem(answer, 401)
        assert_unreadable(answer)
        assert "origin" in listed(answer.headers["vary"])
    for path in ("/nothing", "/v1/classify/", "/v1//classify", "/V1/classify"):
        answer = httpx.options(opened.url + path, headers=ASKS | {"Origin": SHOP})
        assert_problem(answer, 401)
        assert "access-control-allow-methods" not in answer.headers
    # Without its question it is a request like any other.
    answer = httpx.options(f"{opened.url}/v1/classify", headers={"Origin": SHOP})
    assert_problem(answer, 401)
    answer = httpx.options(f"{opened.url}/v1/classify", headers={"Origin": SHOP, "Authorization": f"Bearer {key}"})
    assert_problem(answer, 405)
    assert "access-control-allow-methods" not in answer.headers


def test_answers_may_be_read_errors_too(opened: Server, key: str) -> None:
    narrow = opened.create_key("narrow@example.org", "--scope", "usage")["key"]
    spent = opened.create_key("spent@example.org", "--limit", "1/day")["key"]
    asked: list[tuple[str, str, str | None, dict[str, Any], int]] = [
        ("POST", "/v1/classify", key, {"json": BODY}, 200),
        ("POST", "/v2/classify", key, {"json": BODY}, 200),
        ("GET", "/v2/limits", key, {}, 200),
        ("GET", "/livez", None, {}, 200),
        ("GET", "/openapi.json", None, {}, 200),
        ("POST", "/v1/classify", key, {"json": {"image": "!"}}, 400),
        ("POST", "/v1/classify", None, {"json": BODY}, 401),
        ("POST", "/v1/classify", "imc_wrong", {"json": BODY}, 401),
        ("POST", "/v1/classify", narrow, {"json": BODY}, 403),
        ("GET", "/nothing", key, {}, 404),
        ("GET", "/v1/classify", key, {}, 405),
        ("POST", "/v1/classify", key, {"content": bytes(11_000_000)}, 413),
        ("POST", "/v1/classify", key, {"content": b"x", "headers": {"Content-Type": "text/html"}}, 415),
        ("POST", "/v1/classify", key, {"json": {}}, 422),
        ("POST", "/v1/classify", spent, {"json": BODY}, 200),
        ("POST", "/v1/classify", spent, {"json": BODY}, 429),
    ]
    for method, path, sent_key, more, status in asked:
        authorization = {"Authorization": f"Bearer {sent_key}"} if sent_key else {}
        for origin in (SHOP, OTHERS[0], None):
            if sent_key == spent and origin != SHOP:
                continue
            headers = {**more.get("headers", {}), **authorization, **({"Origin": origin} if origin else {})}
            options: dict[str, Any] = {**more, "headers": headers}
            answer = httpx.request(method, opened.url + path, **options)
            assert answer.status_code == status
            if origin == SHOP:
                assert_readable(answer, SHOP)
            else:
                assert_unreadable(answer)
                assert "origin" in listed(answer.headers["vary"])


def test_to_ask_costs_nothing(opened: Server) -> None:
    user = opened.create_key("asks@example.org", "--limit", "1/day")
    headers = ASKS | {"Origin": SHOP, "Authorization": f"Bearer {user['key']}"}
    for _ in range(3):
        assert httpx.options(f"{opened.url}/v1/classify", headers=headers).status_code == 204
    with opened.client(user["key"]) as client:
        assert client.get("/v2/usage").json()["data"] == []
        assert client.post("/v1/classify", json=BODY).status_code == 200


def test_without_the_setting_no_page_may(server: Server, new_user: object) -> None:
    answer = httpx.options(f"{server.url}/v1/classify", headers=ASKS | {"Origin": SHOP})
    assert_problem(answer, 401)
    assert_unreadable(answer)
    assert_unreadable(httpx.get(f"{server.url}/livez", headers={"Origin": SHOP}))
    assert "vary" not in answer.headers


def test_bentoml_s_own_setting_names_the_one_that_works(tmp_path: Path, model_store: Path) -> None:
    config = tmp_path / "bentoml.yaml"
    cors = "cors:\n        enabled: true\n        access_control_allow_origins: ['*']\n"
    config.write_text(f"services:\n  ImageClassifier:\n    http:\n      {cors}")
    server = Server(tmp_path / "it", model_store, BENTOML_CONFIG=str(config))
    server.launch()
    try:
        assert server.process.wait(60) == 1
    finally:
        server.kill()
    said = [line for line in server.log.read_text().splitlines() if line.startswith("ERROR")]
    assert len(said) == 1
    assert "CLASSIFIER_CORS_ORIGINS" in said[0]
    assert "Traceback" not in server.log.read_text()


PAGE = """
<body><script>
  const options = {method: "POST", body: %(body)s,
    headers: {Authorization: "Bearer %(key)s", "Content-Type": "application/json"}};
  fetch("%(url)s/v1/classify", options).then(async answer => {
    const shown = ["RateLimit", "Server-Timing", "X-Request-ID"].map(name => answer.headers.get(name) !== null);
    document.body.innerText = [answer.status, (await answer.json()).predictions.length, ...shown].join(" ");
  }).catch(error => { document.body.innerText = "refused"; });
</script></body>
"""


def test_a_real_browser_lets_the_page_read_it(
    opened: Server, server: Server, key: str, page: ThreadingHTTPServer, tmp_path: Path
) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    other_key = server.create_key("page2@example.org")["key"]
    for name, called, sent_key in (("named", opened, key), ("not_named", server, other_key)):
        script = {"url": called.url, "key": sent_key, "body": json.dumps(json.dumps(BODY))}
        (tmp_path / f"{name}.html").write_text(PAGE % script)
    page.RequestHandlerClass = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    threading.Thread(target=page.serve_forever, args=(LOOKS_EVERY_S,), daemon=True).start()

    def shown(name: str) -> str:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom"]
        url = f"http://127.0.0.1:{page.server_port}/{name}.html"
        return subprocess.run([browser, *options, url], capture_output=True, text=True, timeout=120, check=True).stdout

    try:
        assert "200 5 true true true" in shown("named")
        assert "refused" in shown("not_named")
    finally:
        page.shutdown()
