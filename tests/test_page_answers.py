"""The page at `/` when answers come late, twice or not at all: nobody sees what is another key's, or rows twice."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, Route, expect

from tests.browser import EVERYTHING, Visit, browser, enter, findings, is_wider_than_the_window, open_view, visit

__all__ = ["browser", "visit"]

NewUser = Callable[..., dict[str, Any]]
ROWS = 3


class Held:
    """Holds the first request to a path back; later ones go their way."""

    def __init__(self, page: Page, path: str) -> None:
        self._page, self._path = page, f"**{path}*"
        self._route: Route | None = None
        page.route(self._path, self._hold)

    def _hold(self, route: Route) -> None:
        if self._route is None:
            self._route = route
        else:
            route.continue_()

    def let_go(self) -> None:
        """Send the request, with the key that it was made with, and wait until the page has its answer."""
        assert self._route is not None
        with self._page.expect_response(lambda response: response.request == held) as answered:
            held = self._route.request
            self._route.continue_()
        answered.value.finished()
        self._page.evaluate("() => new Promise((done) => setTimeout(done, 300))")


def forget(page: Page) -> None:
    page.get_by_role("button", name="Forget it").click()
    expect(page.get_by_label("API key", exact=True)).to_be_visible()


def test_a_late_list_of_keys_is_not_shown_to_another_key(visit: Visit, new_user: NewUser) -> None:
    first, second = new_user(*EVERYTHING), new_user(*EVERYTHING)
    page = visit(first["key"])
    late = Held(page, "/v2/keys")
    open_view(page, "Keys")
    forget(page)
    enter(page, second["key"])
    expect(page.locator("#keys-list")).to_contain_text(second["key_id"])
    late.let_go()
    expect(page.locator("#keys-list")).to_contain_text(second["key_id"])
    assert first["key_id"] not in page.locator("main").inner_html()


def test_a_late_list_of_keys_is_not_shown_to_nobody(visit: Visit, new_user: NewUser) -> None:
    user = new_user(*EVERYTHING)
    page = visit(user["key"])
    late = Held(page, "/v2/keys")
    open_view(page, "Keys")
    forget(page)
    late.let_go()
    expect(page.get_by_text("Enter your API key above to see this.")).to_be_visible()
    assert user["key_id"] not in page.locator("main").inner_html()


def test_late_limits_are_not_shown_to_another_key(visit: Visit, new_user: NewUser) -> None:
    page = visit(new_user("--limit", "777/hour")["key"])
    late = Held(page, "/v2/limits")
    page.reload()
    forget(page)
    enter(page, new_user("--limit", "888/hour")["key"])
    expect(page.locator("#limits-card")).to_contain_text("888 of 888 left per hour")
    late.let_go()
    expect(page.locator("#limits-card")).to_contain_text("888 of 888 left per hour")


def test_an_owner_who_has_left_shows_nobody_the_owners_view(visit: Visit, new_user: NewUser) -> None:
    owner = new_user(*EVERYTHING, "--scope", "admin")
    page = visit()
    late = Held(page, "/v2/admin/users")
    enter(page, owner["key"])
    forget(page)
    enter(page, new_user(*EVERYTHING)["key"])
    expect(page.get_by_role("button", name="Forget it")).to_be_visible()
    late.let_go()
    expect(page.get_by_role("link", name="Owner")).to_be_hidden()


def page_of_users(route: Route) -> None:
    """Answer with the next rows of a list without end."""
    query = parse_qs(urlsplit(route.request.url).query)
    first = int(query.get("cursor", ["0"])[0])
    rows = [{"user_id": f"usr_{number}", "email": f"{number}@example.org"} for number in range(first, first + ROWS)]
    route.fulfill(body=json.dumps({"data": rows, "next_cursor": str(first + ROWS)}), content_type="application/json")


def refuse(route: Route) -> None:
    problem = {"title": "Too Many Requests", "status": 429, "detail": "Come back later."}
    route.fulfill(status=429, body=json.dumps(problem), content_type="application/problem+json")


def test_show_more_adds_each_row_once_and_can_be_tried_again(visit: Visit, new_user: NewUser) -> None:
    page = visit(new_user("--limit", "1000/minute", *EVERYTHING, "--scope", "admin")["key"])
    page.route("**/v2/admin/users*", page_of_users)
    open_view(page, "Owner")
    users = page.locator(".card").filter(has=page.get_by_role("heading", name="Users", exact=True))
    rows, more = users.locator("tbody tr"), users.get_by_role("button", name="Show more")
    expect(rows).to_have_count(ROWS)
    more.dblclick()
    expect(rows.nth(2 * ROWS - 1)).to_be_visible()
    page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
    assert len({*rows.all_inner_texts()}) == rows.count()

    shown = rows.count()
    page.unroute("**/v2/admin/users*")
    page.route("**/v2/admin/users*", refuse)
    more.click()
    expect(users.get_by_role("alert")).to_have_text("Come back later.")
    page.unroute("**/v2/admin/users*")
    page.route("**/v2/admin/users*", page_of_users)
    more.click()
    expect(rows).to_have_count(shown + ROWS)
    expect(users.get_by_role("alert")).to_be_empty()


def test_an_owner_finds_a_user_and_its_keys_by_the_address(visit: Visit, new_user: NewUser) -> None:
    owner, one = new_user(*EVERYTHING, "--scope", "admin"), new_user()
    page = visit(owner["key"])
    with page.expect_response("**/v2/admin/users*") as listed:
        open_view(page, "Owner")
    users = page.locator(".card").filter(has=page.get_by_role("heading", name="Users", exact=True))
    keys = page.locator(".card").filter(has=page.get_by_role("heading", name="Keys", exact=True))
    expect(users.locator("tbody tr").nth(1)).to_be_visible()
    address = page.request.get(
        f"{page.url.partition('#')[0]}v2/admin/users/{one['user_id']}", headers=listed.value.request.headers
    ).json()["email"]
    field = page.get_by_role("search").get_by_label("E-mail address of a user")
    field.fill(f" {address.upper()} ")
    field.press("Enter")
    expect(users.locator("tbody tr")).to_have_count(1)
    expect(users).to_contain_text(one["user_id"])
    expect(keys.locator("tbody tr")).to_have_count(1)
    expect(keys).to_contain_text(one["key_id"])
    field.fill("nobody@example.org")
    field.press("Enter")
    expect(users).to_contain_text("There are none.")
    expect(keys).not_to_contain_text(one["key_id"])
    field.fill("")
    field.press("Enter")
    expect(users.locator("tbody tr").nth(1)).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 800})
    assert findings(page) == []
    assert not is_wider_than_the_window(page)


def test_a_time_of_another_year_is_shown_with_its_year(visit: Visit) -> None:
    page = visit()
    script = (
        "async (iso) => (await import(new URL(document.querySelector('script[type=module]').src.replace('app', 'dom'))"
        ")).shortTime(iso)"
    )
    now = datetime.now(UTC)
    assert str(now.year) not in page.evaluate(script, f"{now:%Y-%m-%dT12:00:00Z}")
    assert "2020" in page.evaluate(script, "2020-06-15T12:00:00Z")
