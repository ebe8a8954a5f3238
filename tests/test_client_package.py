"""The client as a package: its wheel, what it imports, and what a type checker tells its users."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from testing.servers import PROJECT

USERS_FILE = """
import asyncio
import io
from pathlib import Path

import numpy as np
from PIL import Image

from classifier_client import AsyncClient, BatchEntry, Classification, Client, Outcome, Retries, TimeLimits


def classified() -> str | None:
    with Client("http://server", "imc_1", retries=Retries(most=2), time_limits=TimeLimits(total=5)) as client:
        client.classify(b"")
        client.classify(io.BytesIO())
        client.classify(Image.new("RGB", (1, 1)))
        client.classify(np.zeros((1, 1, 3), np.uint8))
        entries: tuple[BatchEntry, ...] = client.classify_batch([Path("a"), "b"]).entries
        many: list[Outcome[Path]] = list(client.classify_folder("photos"))
        confidence: float = client.classify("a.jpg").predictions[0].confidence
        client.classify(7)  # type: ignore[arg-type]
        client.classify("a.jpg", top_k="many")  # type: ignore[arg-type]
        client.classify("a.jpg").label = "cup"  # type: ignore[misc]
        print(entries, many, confidence)
        return client.classify("a.jpg").label


async def main() -> Classification:
    async with AsyncClient() as client:
        async for outcome in client.classify_many(["a.jpg"]):
            source: str = outcome.source
            print(source)
        return await client.classify("a.jpg")


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The build writes beside the sources.
    copy = shutil.copytree(PROJECT / "client", folder / "client", ignore=shutil.ignore_patterns("__pycache__", "build"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(copy),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [made] = folder.glob("*.whl")
    return Path(made)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but what the wheel installs."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_the_wheel_is_small_and_complete(wheel: Path, installed: Path) -> None:
    assert wheel.stat().st_size < 60_000
    assert (installed / "classifier_client" / "py.typed").exists()
    [about] = installed.glob("*.dist-info")
    assert "classify = classify_command:main" in (about / "entry_points.txt").read_text()
    needs = [line for line in (about / "METADATA").read_text().splitlines() if line.startswith("Requires-")]
    assert "Requires-Python: >=3.10" in needs
    plain = [re.split(r"[<>=]", line.split()[1])[0] for line in needs if line.startswith("Requires-Dist")]
    assert plain == ["httpx", "typer", "rich", "keyring", "aiomqtt", "websockets"]


def test_the_library_imports_neither_its_command_nor_its_extras(installed: Path) -> None:
    unwanted = {"typer", "PIL", "numpy", "websockets", "keyring", "aiomqtt", "classifier_client.cli"}
    program = f"import sys, classifier_client; print(classifier_client.__file__, {unwanted!r} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{installed}/classifier_client/__init__.py set()\n"


def test_a_type_checker_knows_the_types_of_the_client(installed: Path, tmp_path: Path) -> None:
    """mypy is told Python 3.10, so it also finds what the client uses of a newer one."""
    users_file = tmp_path / "program.py"
    users_file.write_text(USERS_FILE)
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = true\npython_version = 3.10\n[mypy-PIL.*,numpy.*]\nfollow_imports = skip\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", users_file.name]
    environment = {**os.environ, "MYPYPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
