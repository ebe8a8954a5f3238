"""What answers tell a browser, and that the page works under its own policy."""

import base64
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.servers import Server

DATA_ALONE = "default-src 'none'; frame-ancestors 'none'"
ALWAYS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "x-frame-options": "DENY"}


def assert_guarded(answer: httpx.Response) -> None:
    for name, value in ALWAYS.items():
        assert answer.headers.get_list(name) == [value], (answer.url, answer.status_code, name)
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert "server" not in answer.headers
    # The connection is not TLS: to promise it here would lock callers of plain HTTP out.
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/schema.json"),
        ("HEAD", "/livez"),
        ("GET", "/static_content/swagger-ui.css"),
        ("GET", "/v1/usage"),
        ("GET", "/nothing"),
        ("POST", "/livez"),
        ("POST", "/v1/classify"),
        ("PUT", "/v2/classify"),
        ("BREW", "/livez"),
    ],
)
def test_every_answer_is_data_to_a_browser(server: Server, method: str, path: str) -> None:
    answer = httpx.request(method, server.url + path)
    assert_guarded(answer)
    assert answer.headers["content-security-policy"] == DATA_ALONE


def test_answers_to_keys_are_kept_by_nobody(caller: httpx.Client, server: Server) -> None:
    for method, path in (("GET", "/v1/usage"), ("GET", "/v2/limits"), ("GET", "/nothing"), ("POST", "/v1/classify")):
        answer = caller.request(method, path)
        assert_guarded(answer)
        assert answer.headers["cache-control"] == "no-store", path
    refused = httpx.get(f"{server.url}/v1/usage", headers={"Authorization": "Bearer imc_wrong"})
    assert refused.headers["cache-control"] == "no-store"


def test_the_page_may_run_its_own_scripts_alone(server: Server) -> None:
    answer = httpx.get(f"{server.url}/docs")
    assert_guarded(answer)
    policy: dict[str, str] = {}
    for directive in answer.headers["content-security-policy"].split("; "):
        name, _, sources = directive.partition(" ")
        policy[name] = sources
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    [inline] = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert " on" not in re.sub(r"<script>.*?</script>", "", answer.text, flags=re.DOTALL).replace("available on", "")
    # A key that was typed in does not outlive the page.
    assert '"persistAuthorization": false' in answer.text


def test_the_page_is_drawn_by_a_real_browser(server: Server, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [browser, *options, f"{server.url}/docs"], capture_output=True, text=True, timeout=120, check=True
    )
    assert "/v1/classify" in done.stdout, "Swagger UI has drawn the routes"
    assert "Authorize" in done.stdout
    assert "Content Security Policy" not in done.stderr


def test_an_answer_to_a_classification_has_them_too(new_user: Callable[..., dict[str, Any]], server: Server) -> None:
    with server.client(new_user("--limit", "1/hour")["key"]) as client:
        for status in (415, 429):
            answer = client.post("/v1/classify", content=b"x", headers={"Content-Type": "text/html"})
            assert answer.status_code == status
            assert_guarded(answer)
