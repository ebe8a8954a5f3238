"""Every supported Python serves a model that another one prepared, and the locks resolve: `make test-pythons`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testing.photographs import COFFEE, as_base64
from testing.servers import PROJECT, Server, inherited

pytestmark = pytest.mark.skipif("PYTHONS" not in os.environ, reason="installs for minutes: make test-pythons")

LINUX = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
MACOS = ("macosx_14_0_arm64", "macosx_11_0_arm64")


def interpreter(version: str) -> str:
    """The Python of that version on the PATH, or pyenv's; without one the test is skipped."""
    found = [shutil.which(f"python{version}"), *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))]
    for python in filter(None, found):
        if subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip(f"there is no Python {version} here")


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_it_serves_a_model_that_another_python_prepared(version: str, tmp_path: Path, model_store: Path) -> None:
    venv, python = tmp_path / "venv", interpreter(version)
    subprocess.run([str(PROJECT / "requirements" / "new_venv.sh"), str(venv), python], check=True)
    installing = [str(venv / "bin" / "python"), "-m", "requirements.install", str(venv), "serve"]
    subprocess.run(installing, cwd=PROJECT, env={**inherited(), "TORCH": "cpu"}, check=True)

    server = Server(tmp_path / "it", model_store)
    server.executable = str(venv / "bin" / "python")
    server.start()
    try:
        key = server.create_key("ada@example.org")["key"]
        with server.client(key) as client:
            answer = client.post("/v1/classify", json={"image": as_base64(COFFEE.read_bytes())}).json()
    finally:
        server.stop()
    print(f"Python {version}: {answer['predictions'][0]}")
    assert answer["predictions"][0]["label"] == "espresso"
    assert [name for name in ("torch", "transformers") if list(venv.glob(f"lib/*/site-packages/{name}"))] == []


@pytest.mark.parametrize("platform", [LINUX, MACOS], ids=["linux", "macos"])
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_locks_resolve(version: str, platform: tuple[str, ...], tmp_path: Path) -> None:
    interpreter(version)
    locks = ["serve.lock", "prepare.lock", *(["torch-cpu.lock"] if platform is MACOS else [])]
    text = "".join((PROJECT / "requirements" / name).read_text() for name in locks)
    # Two locks may name a package; pip wants it once.
    entries = dict(re.findall(r"^([\w.-]+)(==.*\n(?:    .*\n)*)", text, re.MULTILINE))
    (tmp_path / "all.lock").write_text("".join(name + rest for name, rest in entries.items()))

    command = ["install", "--quiet", "--dry-run", "--ignore-installed", "--require-hashes", "--only-binary=:all:"]
    command += ["--implementation=cp", f"--python-version={version}", "--target", str(tmp_path / "target")]
    command += [f"--platform={one}" for one in platform]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *command, "-r", str(tmp_path / "all.lock")],
        env={**inherited(), "PIP_FIND_LINKS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
