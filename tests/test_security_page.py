"""SECURITY.md: what it says is shown by tests that there are."""

import re

import pytest

from testing.servers import PROJECT

PAGE = (PROJECT / "SECURITY.md").read_text()
RISKS = dict(re.findall(r"^\| API(\d+) [^|]+\|([^\n]+)\|$", PAGE, re.MULTILINE))


def test_every_risk_of_the_list_is_answered_once() -> None:
    assert list(RISKS) == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("number", RISKS)
def test_each_line_names_tests_that_there_are(number: str) -> None:
    done, _, shown = RISKS[number].partition("|")
    assert done.strip()
    named = re.findall(r"`(tests/[\w/]+\.py)`", shown)
    assert named
    assert [name for name in named if not (PROJECT / name).is_file()] == []


def test_people_find_the_page_and_what_it_links_to() -> None:
    assert "(SECURITY.md)" in (PROJECT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (PROJECT / link).is_file(), link
    for target in re.findall(r"`make ([a-z-]+)`", PAGE):
        assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), re.MULTILINE), target
