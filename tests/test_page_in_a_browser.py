"""The page for people at `/` in a real browser: what a visitor does, and that it stays with its own server."""

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from playwright.sync_api import Locator, expect

from testing.servers import Server
from tests.browser import (
    EVERYTHING,
    PICTURE,
    Visit,
    answer_id,
    browser,
    choose,
    enter,
    findings,
    is_wider_than_the_window,
    key,
    open_view,
    see_labels,
    visit,
)

__all__ = ["browser", "key", "visit"]


def test_a_chosen_picture_gets_its_labels_and_the_lines_that_did_it(visit: Visit, key: str, tmp_path: Path) -> None:
    page = visit(key)
    choose(page)
    expect(page.locator("#result li").first).to_contain_text("espresso")
    expect(page.locator("#result ol li")).to_have_count(5)
    for stage in ("Queue", "Decode", "Model", "Network and checks"):
        expect(page.locator("#result .legend")).to_contain_text(stage)
    expect(page.get_by_role("status")).to_contain_text("Most probable: espresso")
    expect(page.locator("#limits-card")).to_contain_text("999 of 1,000 left per hour")

    shutil.copy(PICTURE, tmp_path)
    programs = {"curl": ["bash", "-c"], "Python": [sys.executable, "-c"]}
    if shutil.which("node"):
        programs["JavaScript"] = ["node", "--input-type=module", "-e"]
    for language, program in programs.items():
        page.get_by_role("tab", name=language).click()
        lines = page.get_by_role("tabpanel").inner_text()
        assert key not in lines
        environment = {**os.environ, "KEY": key}
        done = subprocess.run(
            [*program, lines], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert "espresso" in done.stdout, (language, done.stderr)


def test_options_are_sent_and_shown(visit: Visit, key: str) -> None:
    page = visit(key)
    page.get_by_role("combobox", name="Labels").select_option("3")
    choose(page)
    expect(page.locator("#result ol li")).to_have_count(3)
    assert "/v2/classify?top_k=3" in page.get_by_role("tabpanel").inner_text()
    page.get_by_role("combobox", name="at least").select_option("50 %")
    expect(page.locator("#result ol li")).to_have_count(1)


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_a_picture_is_pasted_or_dropped(visit: Visit, key: str, event: str) -> None:
    page = visit(key)
    script = """([event, encoded]) => {
      const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], "it.jpg", {type: "image/jpeg"}));
      const made = event === "paste" ? new ClipboardEvent(event, {clipboardData: data, bubbles: true})
                                     : new DragEvent(event, {dataTransfer: data, bubbles: true, cancelable: true});
      document.querySelector("#drop").dispatchEvent(made);
    }"""
    page.evaluate(script, [event, base64.b64encode(PICTURE.read_bytes()).decode()])
    expect(page.locator("#result li").first).to_contain_text("espresso")


def test_the_camera_takes_one_picture_or_one_after_the_other(visit: Visit, key: str) -> None:
    page = visit(key)
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").click()
    see_labels(page)

    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("combobox", name="Speed").select_option("full speed")
    page.get_by_role("button", name="Classify continuously").click()
    for _ in range(3):
        page.wait_for_function(
            "(old) => (document.querySelector('#result .id') ?? {}).textContent !== old", arg=answer_id(page)
        )
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Classify continuously")).to_be_visible()
    page.get_by_role("button", name="Close the camera").click()
    expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()


def test_what_the_server_refuses_is_told_in_its_own_words(
    visit: Visit, server: Server, key: str, tmp_path: Path
) -> None:
    page = visit()
    choose(page)
    expect(page.locator("#key-note")).to_contain_text("Enter your API key")
    enter(page, "imc_wrong")
    headers = {"Authorization": "Bearer imc_wrong"}
    expect(page.locator("#key-note")).to_have_text(
        httpx.get(f"{server.url}/v2/limits", headers=headers).json()["detail"]
    )
    expect(page.get_by_role("button", name="Forget it")).to_be_hidden()

    # The picture waits for a key that is right.
    enter(page, key)
    expect(page.locator("#result li").first).to_contain_text("espresso")
    no_picture = tmp_path / "no.jpg"
    no_picture.write_bytes(b"no picture")
    choose(page, no_picture)
    with server.client(key) as client:
        refused = client.post("/v2/classify", files={"image": no_picture.read_bytes()}).json()
    expect(page.locator("#result").get_by_role("alert")).to_contain_text(refused["detail"])


def test_an_answer_of_a_proxy_is_told_and_a_long_label_stays_in_the_window(visit: Visit, key: str) -> None:
    page = visit()
    page.route("**/v2/*", lambda route: route.fulfill(status=200, content_type="text/html", body="<h1>Sign in</h1>"))
    enter(page, key)
    expect(page.locator("#key-note")).to_contain_text("What came back is not this service's answer")
    page.unroute("**/v2/*")
    enter(page, key)
    expect(page.get_by_role("button", name="Forget it")).to_be_visible()
    page.route("**/v2/classify", lambda route: route.fulfill(status=200, content_type="text/html", body="<h1>"))
    choose(page)
    expect(page.locator("#result").get_by_role("alert")).to_contain_text("check your connection and try again")
    page.unroute("**/v2/classify")

    label = {"label": "<b>" + "W" * 300, "class_id": 1, "confidence": 0.5}
    model = {"name": "it", "revision": "1", "engine": "openvino", "precision": "f32"}
    picture = {"width": 1, "height": 1, "format": "PNG"}
    answer = {"id": "req_1", "model": model, "predictions": [label], "image": picture}
    page.route("**/v2/classify", lambda route: route.fulfill(json=answer))
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#result li").first).to_contain_text("<b>WWW")
    assert not is_wider_than_the_window(page)


def test_with_a_forgotten_key_nothing_of_its_user_stays_and_the_camera_is_off(
    visit: Visit, new_user: Callable[..., dict[str, Any]]
) -> None:
    user = new_user("--limit", "1000/minute", *EVERYTHING, "--scope", "admin")
    page = visit(user["key"])
    for view, place in (("Usage", "usage-charts"), ("Keys", "keys-list"), ("Owner", "owner-lists")):
        open_view(page, view)
        expect(page.locator(f"#{place}")).not_to_be_empty()
    open_view(page, "Try")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Classify continuously").click()
    see_labels(page)
    page.get_by_role("button", name="Forget it").click()
    expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()
    expect(page.locator("#result")).to_contain_text("The labels of your picture will appear here")
    assert user["key_id"] not in page.locator("main").inner_html()


def test_a_browser_that_stores_nothing_can_use_it(visit: Visit, key: str) -> None:
    page = visit()
    refused = "get() { throw new DOMException('denied', 'SecurityError') }"
    page.context.add_init_script(
        f"for (const one of ['sessionStorage', 'localStorage']) Object.defineProperty(window, one, {{{refused}}})"
    )
    page.reload()
    enter(page, key)
    choose(page)
    see_labels(page)


def test_beyond_the_limit_it_counts_down(visit: Visit, new_user: Callable[..., dict[str, Any]]) -> None:
    page = visit(str(new_user("--limit", "1/hour")["key"]))
    page.clock.install()
    choose(page)
    see_labels(page)
    choose(page)
    refusal = page.locator("#result").get_by_role("alert")
    expect(refusal).to_contain_text("Your limit of 1/hour is reached")
    expect(refusal).to_contain_text(re.compile(r"You can try again in (60|5\d) min\."))
    expect(page.locator("#limits-card")).to_contain_text("0 of 1 left per hour")
    again = page.get_by_role("button", name="Try again")
    expect(again).to_be_disabled()

    # In the browser alone: for the server it is still too early.
    page.clock.fast_forward(3_601_000)
    expect(refusal).to_contain_text("You can try again now.")
    with page.expect_response("**/v2/classify") as sent:
        again.click()
    assert sent.value.status == 429


def test_usage_is_shown_as_figures_charts_and_a_table(visit: Visit, server: Server, key: str) -> None:
    with server.client(key) as client:
        for status in (200, 200, 400):
            body = {"image": base64.b64encode(PICTURE.read_bytes() if status == 200 else b"no").decode()}
            assert client.post("/v1/classify", json=body).status_code == status
    page = visit(key)
    open_view(page, "Usage")
    figures = page.locator("#usage-charts dl")
    expect(figures).to_contain_text(re.compile(r"Images\s*3"))
    expect(page.get_by_role("meter")).to_have_attribute("aria-valuenow", "997")
    for name in ("Requests in the last hour, by status", "Response times in the last hour"):
        expect(page.get_by_role("img", name=name)).to_be_visible()
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("columnheader", name="p95")).to_be_visible()
    page.get_by_text("30 days", exact=True).click()
    expect(page.get_by_role("img", name="Requests in the last 30 days, by status")).to_be_visible()
    expect(figures).to_contain_text(re.compile(r"Images\s*3"))
    # The owner's view is for those alone to whom the server answers.
    expect(page.get_by_role("link", name="Owner")).to_be_hidden()


def test_an_owner_sees_users_keys_plans_usage_and_changes(
    visit: Visit, server: Server, new_user: Callable[..., dict[str, Any]]
) -> None:
    user = new_user("--limit", "1000/minute", "--name", "phone")
    with server.client(user["key"]) as client:
        body = {"image": base64.b64encode(PICTURE.read_bytes()).decode()}
        assert client.post("/v1/classify", json=body).status_code == 200
    with server.client(new_user("--scope", "admin")["key"]) as client:
        email = client.get(f"/v2/admin/users/{user['user_id']}").json()["email"]
        name = f"plan-{user['user_id'][4:12].lower()}"
        client.post("/v2/admin/plans", json={"name": name, "limits": ["60/minute"]}).raise_for_status()
    page = visit(new_user(*EVERYTHING, "--scope", "admin")["key"])
    open_view(page, "Owner")
    for title, cell in (("Users", email), ("Keys", user["key_id"]), ("Plans", name), ("Changes", user["key_id"])):
        card = page.locator(".card").filter(has=page.get_by_role("heading", name=title, exact=True))
        find_row(card, cell)
    numbers = [int(one) for one in card.locator("tbody td:first-child").all_inner_texts()]
    assert numbers == sorted(numbers, reverse=True), "the latest change stands first"
    looks: list[tuple[Literal["light", "dark"], int]] = [("light", 1200), ("dark", 1200), ("dark", 360), ("light", 360)]
    for scheme, width in looks:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        assert findings(page) == []
        assert not is_wider_than_the_window(page)
    # Also on a phone, what an owner can do is in sight.
    shown = page.get_by_role("button", name=f"Show the usage of {email}").bounding_box()
    assert shown is not None
    assert shown["x"] + shown["width"] < 360
    page.get_by_role("button", name=f"Show the usage of {email}").click()
    expect(page.get_by_role("heading", name=f"Usage of {email}, 30 days")).to_be_visible()
    expect(page.locator("#user-usage dl")).to_contain_text(re.compile(r"Images\s*1"))
    expect(page.get_by_role("img", name="Requests in the last 30 days, by status")).to_be_visible()


def find_row(card: Locator, text: str) -> None:
    """Show more rows of a list until one has this text."""
    row = card.get_by_role("row").filter(has_text=text).first
    more = card.get_by_role("button", name="Show more")
    expect(card.get_by_role("row").nth(1)).to_be_visible()
    while not row.count() and more.is_visible():
        rows = card.get_by_role("row").count()
        more.click()
        expect(card.get_by_role("row").nth(rows)).to_be_visible()
    expect(row).to_be_visible()


def test_a_key_is_rotated_and_revoked(visit: Visit, server: Server, key: str) -> None:
    page = visit(key)
    open_view(page, "Keys")
    page.get_by_role("button", name="Rotate laptop").click()
    page.get_by_role("combobox", name="The old key works for").select_option("no longer")
    page.get_by_role("button", name="Replace it").click()
    expect(page.get_by_label("The new key")).to_be_visible()
    new_key = page.get_by_label("The new key").input_value()
    with server.client(new_key) as client:
        assert client.get("/v2/limits").status_code == 200
    with server.client(key) as client:
        assert client.get("/v2/limits").status_code == 401
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_text("in use here")).to_be_visible()
    assert new_key not in page.content()
    expect(page.get_by_label("The new key")).to_have_value("")

    page.get_by_role("button", name="Revoke laptop").click()
    page.get_by_role("button", name="Revoke it").click()
    expect(page.get_by_label("API key", exact=True)).to_be_visible()
    with server.client(new_key) as client:
        assert client.get("/v2/limits").status_code == 401


def test_a_key_stays_in_its_tab_unless_it_shall_be_remembered(visit: Visit, key: str) -> None:
    page = visit(key)
    page.reload()
    expect(page.get_by_text("in this tab only")).to_be_visible()
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_label("API key", exact=True)).to_be_visible()

    other.get_by_label("Remember on this computer").check()
    enter(other, key)
    expect(other.get_by_text("remembered on this computer")).to_be_visible()
    third = page.context.new_page()
    third.goto(page.url)
    expect(third.get_by_text("remembered on this computer")).to_be_visible()
    third.get_by_role("button", name="Forget it").click()
    third.reload()
    expect(third.get_by_label("API key", exact=True)).to_be_visible()
