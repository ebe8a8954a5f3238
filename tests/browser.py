"""A real browser for tests of the page at `/`, and what a visitor does there."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from testing.servers import PROJECT, Server

PICTURE = PROJECT / "examples" / "espresso.jpg"
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
EVERYTHING = ("--scope", "classify", "--scope", "usage", "--scope", "keys")
# What a busy machine may take for one step.
PATIENCE_MS = 60_000
# The browser writes these itself, about answers that a test provokes; a script's own errors are others.
EXPECTED_ON_THE_CONSOLE = re.compile(r"Failed to load resource: .* status of 4\d\d|WebSocket connection to .* failed")

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Visit]:
    """Opens the page as a new visitor; in the end checks that it asked no other server, and that no script failed."""
    contexts, elsewhere, failures = [], [], []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED_ON_THE_CONSOLE.match(message.text):
            failures.append(message.text)

    def visit(key: str | None = None, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        own = (server.url, server.url.replace("http", "ws", 1), "blob:", "data:")
        page.on("request", lambda request: elsewhere.extend([] if request.url.startswith(own) else [request.url]))
        page.on("websocket", lambda socket: elsewhere.extend([] if socket.url.startswith(own) else [socket.url]))
        page.on("console", note)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(f"{server.url}/")
        if key is not None:
            enter(page, key)
            expect(page.get_by_role("button", name="Forget it")).to_be_visible()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert elsewhere == []
    assert failures == []


@pytest.fixture
def key(new_user: Callable[..., dict[str, Any]]) -> str:
    return str(new_user("--limit", "1000/hour", "--name", "laptop", *EVERYTHING)["key"])


def enter(page: Page, key: str) -> None:
    page.get_by_label("API key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def choose(page: Page, picture: Path = PICTURE) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture").click()
    chooser.value.set_files(picture)


def answer_id(page: Page) -> str:
    """The id of the answer that is shown."""
    return page.locator("#result .id").inner_text()


def see_labels(page: Page) -> None:
    expect(page.locator("#result li").filter(has_text="%").first).to_be_visible()


def open_view(page: Page, name: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=name).click()


def findings(page: Page) -> list[str]:
    """What axe finds serious or critical."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def is_wider_than_the_window(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
