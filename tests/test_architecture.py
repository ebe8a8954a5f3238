"""Architecture, decisions and CONTRIBUTING: what these pages name is in the code, in the order that they give."""

import ast
import re
import tomllib

import pytest

from testing.servers import PROJECT

PAGE = (PROJECT / "docs" / "architecture.md").read_text()
LINTER = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
PATH = re.compile(r"`([\w./-]+\.(?:py|ya?ml|toml|md)|deploy/Containerfile)`")
FACTS = re.findall(r"^\| ([^|]+) \| `([^`|]+)` \| `([^`|]+)` \|$", PAGE, re.MULTILINE)


def section(heading: str) -> str:
    """The text from a heading to the next one."""
    _, _, rest = PAGE.partition(f"# {heading}\n")
    assert rest, heading
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def asgi_classes(module: str) -> set[str]:
    """The names of the ASGI apps and middlewares that a module of the project defines."""
    path = PROJECT / f"{module.replace('.', '/')}.py"
    if not path.is_file():
        return set()
    return {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.AsyncFunctionDef)
        and method.name == "__call__"
        and [argument.arg for argument in method.args.args[1:]] == ["scope", "receive", "send"]
    }


def middlewares_of_the_service() -> list[str]:
    """The files of the middlewares in the order in which api/assembly.py names their classes.

    A middleware is an ASGI class that is passed on as a value: to a call, or in a tuple or list.
    """
    tree = ast.parse((PROJECT / "api" / "assembly.py").read_text())
    files = {
        name.name: f"{node.module.replace('.', '/')}.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
        if name.name in asgi_classes(node.module)
    }
    passed = [
        value
        for node in ast.walk(tree)
        for value in (node.args if isinstance(node, ast.Call) else getattr(node, "elts", []))
        if isinstance(value, ast.Name) and value.id in files
    ]
    return [files[value.id] for value in sorted(passed, key=lambda value: (value.lineno, value.col_offset))]


def test_every_file_on_the_page_exists() -> None:
    named = set(PATH.findall(PAGE))
    assert len(named) > 40
    assert [path for path in sorted(named) if not (PROJECT / path).is_file()] == []
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert [link for link in links if not (PROJECT / "docs" / link).is_file()] == []


def test_the_rooms_in_the_picture_are_those_that_the_linter_holds() -> None:
    layers = re.findall(r"subgraph layer\d+ .*?\n(.*?)\n    end", section("The rooms"), re.DOTALL)
    drawn = [set(re.findall(r"^ +(\w+)\[", layer, re.MULTILINE)) for layer in layers]
    [contract] = [
        contract for contract in LINTER["contracts"] if contract.get("layers") and not contract.get("containers")
    ]
    assert drawn == [set(layer.split(" | ")) for layer in contract["layers"]]
    assert set.union(*drawn) == set(LINTER["root_packages"])


def test_the_arrows_go_from_each_layer_to_the_next() -> None:
    layers = len(re.findall(r"subgraph layer\d+", PAGE))
    wanted = [("service", "layer1"), *((f"layer{n}", f"layer{n + 1}") for n in range(1, layers))]
    assert re.findall(r"^ +(\w+) --> (\w+)$", PAGE, re.MULTILINE) == wanted


def test_the_middlewares_are_listed_in_the_order_of_the_service() -> None:
    listed = re.findall(r"^\| `([^`]+)` \|", section("The middlewares"), re.MULTILINE)
    assert len(listed) == 9
    assert listed == middlewares_of_the_service()


def test_there_are_many_facts() -> None:
    assert len(FACTS) >= 20
    rows = re.findall(r"^\| [A-Z][^|]*\? ?[^|]*\|", PAGE, re.MULTILINE)
    assert len(rows) == len(FACTS), "each row of a question has a file and a word"


@pytest.mark.parametrize(("question", "path", "word"), FACTS)
def test_the_file_that_answers_a_question_has_the_word(question: str, path: str, word: str) -> None:
    assert word in (PROJECT / path).read_text(), question


def test_the_index_of_decisions_lists_every_record() -> None:
    index = (PROJECT / "DECISIONS.md").read_text()
    rows = re.findall(
        r"^\| (\d+) \| \[([^\]]+)\]\((docs/decisions/[^)]+)\) \| (.+?) \| ([\d-]+) \|", index, re.MULTILINE
    )
    files = sorted((PROJECT / "docs" / "decisions").glob("*.md"))
    assert [path for _, _, path, _, _ in rows] == [str(path.relative_to(PROJECT)) for path in files]
    numbers = [int(number) for number, *_ in rows]
    [never_used] = re.findall(r"Numbers never change; ([\d, and]+) were never used", index)
    assert {int(number) for number in re.findall(r"\d+", never_used)} == {*range(1, numbers[-1])} - {*numbers}
    for number, title, path, status, date in rows:
        text = (PROJECT / path).read_text()
        assert path.startswith(f"docs/decisions/{int(number):04d}-")
        assert text.startswith(
            f"# {number}. {title}\n\n- Status: {status.replace('docs/decisions/', '')}\n- Date: {date}\n"
        )
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Price"]
        links = re.findall(r"\]\(([^)#:]+)\)", text)
        assert [link for link in links if not (PROJECT / "docs" / "decisions" / link).is_file()] == []


def test_every_required_package_has_its_reason() -> None:
    [record] = (PROJECT / "docs" / "decisions").glob("0033-*.md")
    lists = [path.read_text() for path in (PROJECT / "requirements").glob("*.in")]
    required = {name for lines in lists for name in re.findall(r"^([A-Za-z0-9][\w.-]*)", lines, re.MULTILINE)}
    assert len(required) > 40
    assert required - set(re.findall(r"`([\w.-]+)`", record.read_text())) == set()


def test_contributing_names_every_room_and_only_commands_that_exist() -> None:
    page = (PROJECT / "CONTRIBUTING.md").read_text()
    assert [room for room in LINTER["root_packages"] if f"| `{room}/` |" not in page] == []
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", page, re.MULTILINE)) <= targets
    links = re.findall(r"\]\(([^)#:]+)\)", page)
    assert [path for path in {*links, *PATH.findall(page)} if "/" in path and not (PROJECT / path).is_file()] == []


def test_contributing_names_every_file_that_uses_environment_variables() -> None:
    _, _, rest = (PROJECT / "CONTRIBUTING.md").read_text().partition("\nOnly `configs/settings.py` reads")
    files = [path for room in LINTER["root_packages"] for path in (PROJECT / room).rglob("*.py")]
    using = {str(path.relative_to(PROJECT)) for path in files if re.search(r"os\.(environ|getenv)", path.read_text())}
    assert "configs/settings.py" in using
    assert using - {"configs/settings.py"} - set(PATH.findall(rest.partition("\n## ")[0])) == set()


def test_a_comment_that_names_a_decision_names_one_that_exists() -> None:
    known = {path.name[:4] for path in (PROJECT / "docs" / "decisions").glob("*.md")}
    rooms = [PROJECT / room for room in LINTER["root_packages"]]
    files = [PROJECT / "service.py", *(path for room in rooms for path in room.rglob("*.py"))]
    named = {number for path in files for number in re.findall(r"DECISIONS (\d+)", path.read_text())}
    assert {number.zfill(4) for number in named} <= known
