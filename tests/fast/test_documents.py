"""What the documents name exists: commands, options, settings, routes, metrics, alerts, `make` targets and headings."""

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
import yaml
from classifier_client.cli.main import app as classify

from api.routes import ROUTES
from auth.cli.parser import build
from configs.settings import PREFIX, Settings
from loadtests.settings import PREFIX as LOADTEST_PREFIX
from loadtests.settings import LoadSettings
from testing.servers import PROJECT
from web.problem import refusals_total

OWN = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "DECISIONS.md", "deploy/README.md", "client/README.md")
PAGES = {
    str(path.relative_to(PROJECT)): path.read_text("utf-8")
    for path in [
        *map(PROJECT.joinpath, (*OWN, "loadtests/README.md", "benchmarks/README.md")),
        *sorted((PROJECT / "docs").rglob("*.md")),
    ]
}
OPERATIONS = PAGES["docs/operations.md"]
# What a decision says of the past stays.
TODAY = {name: text for name, text in PAGES.items() if not name.startswith("docs/decisions/")}
COMMAND = re.compile(r"(?<![\w-])-m auth ([^`|<>;&\n)]+)")


def commands_of(parser: argparse.ArgumentParser, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command of a parser."""
    groups = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    if not groups:
        yield before
    for name, command in (item for group in groups for item in group.items()):
        yield from commands_of(command, (*before, name))


def command_of(words: list[str]) -> argparse.ArgumentParser:
    """The parser of the command that these words begin with."""
    parser: argparse.ArgumentParser = build()
    for word in words:
        group: Any = next((action.choices for action in parser._actions if isinstance(action.choices, dict)), None)
        if group is None:
            return parser
        assert word in group, f"there is no command {word!r}"
        parser = group[word]
    return parser


def test_each_command_of_operators_has_the_options_that_are_named() -> None:
    for page, text in PAGES.items():
        for line in COMMAND.findall(text.replace("\\\n", " ")):
            words = [word for word in shlex.split(line, comments=True) if word not in ("…", "...")]
            options = {word for word in words if word.startswith("--") and word != "--help"}
            if words and not words[0].startswith("--"):
                assert options <= command_of(words)._option_string_actions.keys(), (page, line)


def test_the_page_for_operators_lists_every_command_and_no_other() -> None:
    _, _, rest = OPERATIONS.partition("\n## Keys\n")
    listed = set[tuple[str, ...]]()
    for cell in re.findall(r"^\| (`[^|]+) \|", rest.partition("\n#")[0], re.MULTILINE):
        first, *others = [span.split() for span in re.findall(r"`([^`]+)`", cell)]
        in_group = first[0] in ("plan", "meter")
        for words in [first, *([first[0], *other] if in_group else other for other in others)]:
            options = {word for word in words if word.startswith("--")}
            assert options <= command_of(words)._option_string_actions.keys(), words
            listed.add(tuple(words[: 2 if in_group else 1]))
    assert listed == set(commands_of(build()))


def test_each_option_of_classify_that_is_named_exists() -> None:
    app: Any = typer.main.get_command(classify)
    named = 0
    for page, text in TODAY.items():
        for line in re.findall(r"(?:^|`)classify ([^`\n|<>#]+)", text, re.MULTILINE):
            words = line.split()
            command = app.commands.get(words[0], app.commands["images"])
            command = getattr(command, "commands", {}).get(words[1] if len(words) > 1 else "", command)
            known = {option for one in (app, command) for parameter in one.params for option in parameter.opts}
            options = {word for word in words if re.match(r"--?[a-z]", word) and word != "--help"}
            assert options <= known, (page, line)
            named += len(options)
    assert named >= 5


def unknown(pattern: str, known: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Each name that a document of today has, and nobody knows, with the document."""
    named = {(page, name) for page, text in TODAY.items() for name in re.findall(pattern, text, re.MULTILINE)}
    assert len(named) > 5
    return sorted((page, name) for page, name in named if not known(name))


def test_each_setting_that_is_named_exists() -> None:
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    settings |= {LOADTEST_PREFIX + name.upper() for name in LoadSettings.model_fields}
    assert unknown(rf"\b((?:{PREFIX}|{LOADTEST_PREFIX})[A-Z_]+)\b", settings.__contains__) == []


def test_each_make_target_that_is_named_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert unknown(r"(?:^|`)make ([a-z][a-z-]*)", targets.__contains__) == []


def test_each_path_that_is_named_is_a_route() -> None:
    def is_route(path: str) -> bool:
        return bool(ROUTES.match("", re.sub(r"\{[a-z]+\}", "one", path).encode()).methods)

    assert unknown(r"(?:(?<=`)|(?<= )|(?<=:3000)|(?<=localhost))(/v[12]/[\w{}/-]*[\w}])(?!/)", is_route) == [
        ("docs/admin.md", "/v2/admin")
    ]


def test_each_metric_that_is_named_exists() -> None:
    rooms = ("api", "auth", "inference", "storage", "web")
    source = "".join(path.read_text("utf-8") for room in rooms for path in (PROJECT / room).rglob("*.py"))
    metrics = {*re.findall(r'"(classifier_[a-z_]+)"', source), "classifier_client"}
    assert unknown(r"`(classifier_[a-z_]+?)(?:_total)?[`{]", metrics.__contains__) == []


def test_each_alert_that_is_named_exists() -> None:
    groups = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    named = re.findall(r"\balerts?\s`(\w+)`(?: and `(\w+)`)?", OPERATIONS)
    assert {name for names in named for name in names if name} - alerts == set()
    assert len(named) >= 3


def test_each_kind_of_refusal_is_on_the_page_for_operators() -> None:
    _, _, rest = OPERATIONS.partition("| kind of refusal |")
    rows = re.findall(r"^\| (`[^|]+) \|", rest.partition("\n\n")[0], re.MULTILINE)
    listed = {kind for row in rows for kind in re.findall(r"`(\w+)`", row)}
    counted = {sample.labels["kind"] for family in refusals_total.collect() for sample in family.samples}
    assert listed == counted


def anchors(page: Path) -> set[str]:
    """The places of the headings of a page, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_link_leads_to_a_file_and_a_heading() -> None:
    for page, text in PAGES.items():
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
            name, _, place = link.partition("#")
            target = (PROJECT / page).parent / name if name else PROJECT / page
            assert target.exists(), (page, link)
            assert not place or place in anchors(target), (page, link)
