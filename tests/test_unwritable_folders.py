"""A user without a home, and a checkout that nobody can write to: served all the same, or told in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testing.servers import PROJECT
from tests.test_plain_bentoml import PlainServer, classified, clone, terminal

__all__ = ["clone", "terminal"]

NOWHERE = "/dev/null/nowhere"
LEFT_OUT = shutil.ignore_patterns(".*", "var", "__pycache__", "tests")


def test_a_user_without_a_home_prepares_and_serves(clone: Path, terminal: dict[str, str], tmp_path: Path) -> None:
    environment = {**terminal, "HOME": NOWHERE, "CLASSIFIER_TUNE": "off"}
    server = PlainServer(clone, "python -m api.serve", environment, tmp_path / "log")
    prepared = server.shell("python -m model.prepare")
    assert (prepared.returncode, "Ready: efficientnet" in prepared.stderr) == (0, True), prepared.stderr
    server.start()
    try:
        assert classified(server, server.key_by_the_command_of_the_log()) == "espresso"
    finally:
        server.stop()


@pytest.mark.parametrize("program", ["model.prepare", "model.tune", "api.serve", "bentoml serve"])
def test_a_checkout_that_cannot_be_written_to_is_told_in_one_line(tmp_path: Path, program: str) -> None:
    checkout, home = tmp_path / "it", tmp_path / "home"
    shutil.copytree(PROJECT, checkout, ignore=LEFT_OUT)
    # A folder can't be made where a file is: that holds for root too, whom no permission stops.
    (checkout / "var").touch()
    home.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(home), "CLASSIFIER_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-m", *program.split()],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = (done.stdout + done.stderr).strip().splitlines()
    assert line.startswith("ERROR: There can't be a folder for models in this checkout")
    assert "set BENTOML_HOME" in line
