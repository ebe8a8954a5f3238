"""Takes the pictures of the page at `/` and of the command `classify` for the documentation: `make pictures`.

It starts a server with a user whose last hour is made up, opens the page in Chromium, and writes into `docs/`.
"""

import io
import math
import os
import random
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from storage import usage
from storage.database import Database
from storage.usage import UsageRow
from testing.servers import PROJECT, Server, inherited, running
from testing.terminal_pictures import add_classify, draw

PICTURE = PROJECT / "examples" / "espresso.jpg"
LIMITS = ("--limit", "60/minute", "--limit", "5000/day")
SCOPES = ("--scope", "classify", "--scope", "usage", "--scope", "keys")
MINUTES = 60
# Enough for the colours of the page and of one photograph, at a fifth of the size.
COLOURS = 128


def main() -> None:
    """Write the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("ERROR: no Chromium was found; install the package 'chromium'.")
    store = Path(os.environ["BENTOML_HOME"]) / "models"
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "it", store) as server:
        user = server.create_key("ada@example.org", "--name", "laptop", *LIMITS, *SCOPES)
        make_up_usage(server, user)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            take(browser, server, user["key"])
            browser.close()
        take_terminal(server, user["key"], Path(folder))


def take(browser: Browser, server: Server, key: str) -> None:
    """Open the page on a wide and on a narrow screen, and save what it shows."""
    wide = open_page(browser, server, key, "light", {"width": 1000, "height": 800})
    save(wide, "page.png")
    wide.get_by_role("link", name="Usage").click()
    wide.locator("#usage-charts svg").first.wait_for()
    save(wide, "page-usage.png")
    save(open_page(browser, server, key, "dark", {"width": 360, "height": 740}), "page-phone.png")


def take_terminal(server: Server, key: str, folder: Path) -> None:
    """Draw what the command `classify` prints."""
    add_classify(folder)
    environment = {**inherited(), "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}
    environment |= {"IMAGE_API_URL": server.url, "IMAGE_API_KEY": key}
    commands = (("classify", "examples/espresso.jpg"), ("classify", "usage", "--bucket", "hour"))
    draw(PROJECT / "docs" / "classify.svg", commands, environment, PROJECT)


def open_page(browser: Browser, server: Server, key: str, scheme: Any, size: ViewportSize) -> Page:
    """Return the page once it shows the labels of a picture."""
    page = browser.new_page(color_scheme=scheme, viewport=size, locale="en-GB", reduced_motion="reduce")
    page.goto(f"{server.url}/")
    page.get_by_role("textbox", name="API key").fill(key)
    page.get_by_role("button", name="Use this key").click()
    page.get_by_role("button", name="Forget it").wait_for()
    # The first answers of a server are slower than all others.
    for _ in range(3):
        with page.expect_response("**/v2/classify"):
            page.locator("#file").set_input_files(PICTURE)
        page.locator("#result ol li").first.wait_for()
    return page


def save(page: Page, name: str) -> None:
    """Save the whole page as a small PNG in `docs/`."""
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    path = PROJECT / "docs" / name
    taken.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(PROJECT)}: {path.stat().st_size // 1000} KB")


def make_up_usage(server: Server, user: dict[str, Any]) -> None:
    """Write an hour of requests into the usage log of the user; the same ones each time."""
    chance = random.Random(5)
    now_us = time.time_ns() // 1000
    rows: list[UsageRow] = []
    for minute in range(1, MINUTES):
        for _ in range(int(24 + 14 * math.sin(minute / 9) + chance.uniform(-6, 6))):
            status = chance.choices((200, 429, 400, 503), (94, 4, 1.7, 0.3))[0]
            spent_ms = chance.lognormvariate(3.4, 0.4) if status == 200 else chance.uniform(1, 4)
            at_us = now_us - 60_000_000 * minute + chance.randrange(50_000_000)
            place = ("/v2/classify", "POST", status, spent_ms, at_us, int(status != 429))
            rows.append(UsageRow(f"req_{len(rows):024x}", user["user_id"], user["key_id"], *place))
    Database(server.environment["CLASSIFIER_DATABASE_URL"]).change(partial(usage.record, rows=rows))


if __name__ == "__main__":
    main()
