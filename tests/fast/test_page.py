"""The page for people at `/`: who gets it, what browsers may do with it, and what it weighs."""

import re

import httpx
import pytest

from api.routes import PAGE_FILES, ROUTES
from testing.in_process import InProcessGateway
from testing.servers import PROJECT
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
PATHS = [route.path for route in ROUTES if route.path.startswith(PAGE_FILES)]
MOST_BYTES = 100_000


@pytest.fixture
async def gateway(start: Start) -> InProcessGateway:
    return await start(is_warm=False)


async def get(gateway: InProcessGateway, path: str, **headers: str) -> httpx.Response:
    sent = {"Accept": CHROMIUM, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await gateway.request("GET", path, headers=sent)


@pytest.mark.parametrize("accept", [CHROMIUM, "text/html", "TEXT/HTML;q=0.5", "application/json;q=0.9, text/html"])
async def test_a_browser_gets_the_page(gateway: InProcessGateway, accept: str) -> None:
    answer = await get(gateway, "/", Accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    "accept",
    ["*/*", "", "application/json", "text/html;q=0", "text/html;q=0.5, application/json", "text/html;q=high", "text/*"],
)
async def test_a_program_gets_json(gateway: InProcessGateway, accept: str) -> None:
    answer = await get(gateway, "/", Accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"message": "Image classifier", "version": "0.1.0", "docs": "/docs"}


async def test_caches_tell_the_two_apart(gateway: InProcessGateway) -> None:
    for accept in (CHROMIUM, "*/*"):
        answer = await get(gateway, "/", Accept=accept)
        assert "Accept" in answer.headers["vary"].split(", ")


async def test_the_page_may_load_and_call_this_server_alone(gateway: InProcessGateway) -> None:
    answer = await get(gateway, "/")
    policy = dict(part.partition(" ")[::2] for part in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["permissions-policy"].split(", ")[0] == "camera=(self)"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]+src=)|javascript:", answer.text)


async def test_the_page_names_its_own_files_and_no_other_server(gateway: InProcessGateway) -> None:
    texts = {path: (await get(gateway, path)).text for path in ("/", *PATHS)}
    assert len(texts) > 10
    for path, text in texts.items():
        named = set(re.findall(r"""(?:\b\w+:)?//[\w.-]+\.\w+[^\s"'<`]*""", text))
        # The name of SVG's elements, which nothing is ever asked for at.
        assert named <= {"http://www.w3.org/2000/svg"}, path
    loaded = {f"/{name}" for name in re.findall(r'(?:src|href)="\./(static_content/[^"]+)"', texts["/"])}
    for text in texts.values():
        loaded |= {f"{PAGE_FILES}/{name}" for name in re.findall(r' from "\./([^"]+)"', text)}
    assert loaded == set(PATHS)


async def test_the_page_weighs_little(gateway: InProcessGateway) -> None:
    sent = 0
    for path in ("/", *PATHS):
        answer = await get(gateway, path, Accept_Encoding="br, gzip, deflate")
        assert answer.headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in answer.headers["vary"].split(", ")
        sent += int(answer.headers["content-length"])
    assert sent < MOST_BYTES


def test_its_pictures_in_the_documentation_are_small() -> None:
    pictures = sorted((PROJECT / "docs").glob("page*.png"))
    assert len(pictures) == 3
    assert [path.name for path in pictures if path.stat().st_size > 150_000] == []


@pytest.mark.parametrize("coding", ["gzip", "identity", "gzip;q=0"])
async def test_a_browser_that_has_the_page_is_not_sent_it_again(gateway: InProcessGateway, coding: str) -> None:
    for path in ("/", PATHS[0]):
        first = await get(gateway, path, Accept_Encoding=coding)
        assert ("content-encoding" in first.headers) == (coding == "gzip")
        assert first.headers["cache-control"] == "no-cache"
        for known in (first.headers["etag"], f'"old", W/{first.headers["etag"]}', "*"):
            again = await get(gateway, path, Accept_Encoding=coding, If_None_Match=known)
            assert (again.status_code, again.content) == (304, b"")
            # A browser keeps the policies of its copy as the 304 renews them.
            for name in ("etag", "cache-control", "vary", "content-security-policy"):
                assert again.headers[name] == first.headers[name]
        assert (await get(gateway, path, Accept_Encoding=coding, If_None_Match='"old"')).status_code == 200


@pytest.mark.parametrize(
    ("ending", "media_type"),
    [("js", "text/javascript; charset=utf-8"), ("css", "text/css; charset=utf-8"), ("svg", "image/svg+xml")],
)
async def test_each_file_says_what_it_is(gateway: InProcessGateway, ending: str, media_type: str) -> None:
    for path in (path for path in PATHS if path.endswith(f".{ending}")):
        assert (await get(gateway, path)).headers["content-type"] == media_type


@pytest.mark.parametrize("name", ["index.html", "nothing.js", "../documents.py", "%2e%2e/files.py", "app.js/", ""])
async def test_nothing_else_can_be_read_there(gateway: InProcessGateway, name: str) -> None:
    assert_problem(await gateway.exchange(f"{PAGE_FILES}/{name}", method="GET").answer(), 401)
