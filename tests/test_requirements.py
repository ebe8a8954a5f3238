"""What the code imports is named in `requirements/*.in`: no package is used that only others bring along."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from api import openapi
from testing.servers import PROJECT

SERVING = ("api", "auth", "configs", "inference", "model", "pages", "runtime", "storage", "web")
OTHERS = ("testing", "tests", "loadtests", "benchmarks")
SERVING_IN = ("serve", "prepare", "torch", "quantize")
# In environments of their own: requirements/bench-*.in.
APART = {"litserve", "mlserver"}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named(*names: str) -> set[str]:
    lines = [line for name in names for line in (PROJECT / "requirements" / f"{name}.in").read_text().splitlines()]
    return {plain(found[0]) for line in lines if (found := re.match(r"[A-Za-z0-9._-]+", line)) and line[0] != "-"}


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return {module.partition(".")[0] for module in modules} - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("folders", "requirements"),
    [(SERVING, SERVING_IN), (OTHERS, (*SERVING_IN, "test"))],
    ids=["serving", "tests"],
)
def test_every_package_that_is_imported_is_named(folders: tuple[str, ...], requirements: tuple[str, ...]) -> None:
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    files += [PROJECT / "service.py"] if folders is SERVING else []
    provided_by, allowed = packages_distributions(), named(*requirements)
    own = {*SERVING, *OTHERS, "classifier_client", "requirements", "service"} | APART
    unnamed = {
        f"{path.relative_to(PROJECT)}: {module}"
        for path in files
        for module in imported(path) - own
        if not {plain(package) for package in provided_by.get(module, [module])} & allowed
    }
    assert len(files) > 50
    assert unnamed == set()


def test_the_project_has_one_version() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    kubernetes = (PROJECT / "deploy" / "kubernetes" / "kustomization.yaml").read_text()
    assert project == openapi.VERSION
    assert f"newTag: {project}" in kubernetes or f'newTag: "{project}"' in kubernetes


def test_every_module_that_is_started_by_its_name_exists() -> None:
    """A module that moves leaves no import behind that a linter would miss, but may leave a command."""
    started = re.compile(r"\"-m\", \"([\w.]+)\"|-m ([a-z_]+\.[a-z_.]+[a-z_])|\"([a-z_.]+):ImageClassifier\"")
    own = {*SERVING, *OTHERS, "service"}
    files = [path for name in sorted(own) for path in [PROJECT / f"{name}.py", *(PROJECT / name).rglob("*.py")]]
    files += [PROJECT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "deploy/Containerfile")]
    named = {
        module: path
        for path in files
        if path.is_file()
        for found in started.findall(path.read_text())
        if (module := "".join(found)).partition(".")[0] in own
    }
    assert len(named) > 20
    assert {module: str(path) for module, path in named.items() if not is_module(module)} == {}


def is_module(name: str) -> bool:
    path = PROJECT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
