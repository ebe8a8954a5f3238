"""The tables of families in the README and in `docs/models.md`, made from the results of trying each.

`make families` writes them anew; `tests/test_families.py` fails where they are stale.
"""

import re
from pathlib import Path

from testing.servers import PROJECT
from tests.families import FAMILIES, model_type

# What came of preparing a checkpoint: for each name of `FAMILIES` its exit status, and what was said.
Tried = dict[str, tuple[int, str]]

README, PAGE = PROJECT / "README.md", PROJECT / "docs" / "models.md"
_BEGIN, _END = "<!-- families: written by make families -->", "<!-- end of families -->"


def stale(tried: Tried) -> list[Path]:
    """The files whose table is not what was tried."""
    return [path for path, text in _wanted(tried).items() if path.read_text("utf-8") != text]


def write(tried: Tried) -> None:
    """Write the tables anew."""
    for path, text in _wanted(tried).items():
        path.write_text(text, "utf-8")


def _wanted(tried: Tried) -> dict[Path, str]:
    tables = {README: _short(tried), PAGE: _long(tried)}
    return {path: _replaced(path.read_text("utf-8"), table) for path, table in tables.items()}


def _replaced(text: str, table: str) -> str:
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table}\n{_END}{after}"


def _short(tried: Tried) -> str:
    served = [f"`{name}`" for name in _types(tried, refused=False)]
    rows = ["| family (`model_type`) | |", "| --- | --- |", f"| {', '.join(served)} | served |"]
    rows += [f"| `{name}` | refused: {_reason(tried[name])} |" for name in _types(tried, refused=True)]
    return "\n".join(rows)


def _long(tried: Tried) -> str:
    rows = ["| family (`model_type`) | tried with the image processor | |", "| --- | --- | --- |"]
    for name, (status, said) in tried.items():
        processor = f"`{FAMILIES[name].processor}ImageProcessor`" if FAMILIES[name].processor else ""
        outcome = f"refused: {_reason((status, said))}" if status else "served"
        rows.append(f"| {name.replace(model_type(name), f'`{model_type(name)}`')} | {processor} | {outcome} |")
    return "\n".join(rows)


def _types(tried: Tried, refused: bool) -> list[str]:
    return list(dict.fromkeys(model_type(name) for name, (status, _) in tried.items() if bool(status) is refused))


def _reason(outcome: tuple[int, str]) -> str:
    found = re.search(r"is not supported: (.*?);", outcome[1])
    assert found, outcome[1]
    return found[1]
