"""A start that is not to prepare a model: it serves the one that it is told, or stops with one line."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from testing.servers import PROJECT, Server, inherited
from testing.waiting import PATIENCE_S, wait_until

NOWHERE = "http://127.0.0.1:9"


def serve_and_fail(server: Server) -> str:
    """What `bentoml serve` says at once, where it can't start."""
    command = [sys.executable, "-m", "bentoml", "serve", "service:ImageClassifier", "--port", str(server.port)]
    done = subprocess.run(
        command, cwd=PROJECT, env=server.environment, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    return said


def test_denied_and_unreachable_the_start_stops_with_one_line(tmp_path: Path) -> None:
    store = tmp_path / "models"
    store.mkdir()
    unreachable = {"HF_ENDPOINT": NOWHERE, "HF_HOME": str(tmp_path / "cache")}
    said = serve_and_fail(Server(tmp_path / "it", store, CLASSIFIER_OFFLINE_MODEL="deny", **unreachable))
    [line] = [line for line in said.splitlines() if "ERROR" in line]
    assert "CLASSIFIER_MODEL" in line
    assert "CLASSIFIER_OFFLINE_MODEL=allow" in line


def test_a_directory_that_is_not_there_stops_the_start_with_one_line(tmp_path: Path, model_store: Path) -> None:
    """`test_wrong_settings.py` has the values that are wrong wherever the model lies."""
    wanted = {"CLASSIFIER_OFFLINE_MODEL": "allow", "CLASSIFIER_MODEL": "/no/such/directory"}
    said = serve_and_fail(Server(tmp_path / "it", model_store, **wanted))
    [line] = said.strip().splitlines()
    assert "CLASSIFIER_MODEL" in line


# What a start does before anything else, once for each of several environments.
FIND = """
import json, os, sys
from configs.settings import load_settings
from model.errors import ModelError
from model.prepared import find_prepared

for variables in json.load(sys.stdin):
    os.environ.update(variables)
    try:
        find_prepared(load_settings())
        print()
    except ModelError as error:
        print(error)
    for name in variables:
        del os.environ[name]
"""


def test_a_chosen_model_is_served_only_where_the_other_settings_agree(tmp_path: Path, model_store: Path) -> None:
    """As in an image, which holds one model: what it does not hold is told, not passed over."""
    models = tmp_path / "models"
    shutil.copytree(model_store, models)
    [stand_in] = models.glob("*/*-*")
    own = stand_in.with_name("own-1")
    shutil.copytree(stand_in, own)
    described = (own / "model.yaml").read_text()
    (own / "model.yaml").write_text(described.replace(f"version: {stand_in.name}", f"version: {own.name}"))
    manifest = json.loads((own / "manifest.json").read_text())
    (own / "manifest.json").write_text(json.dumps({**manifest, "name": "resnet-18", "stand_in": False}))
    (tmp_path / "resnet-18").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "resnet-18")
    cases = [
        (stand_in, {"CLASSIFIER_OFFLINE_MODEL": "deny"}, "CLASSIFIER_OFFLINE_MODEL=only"),
        (own, {"CLASSIFIER_OFFLINE_MODEL": "only"}, "asks for the stand-in"),
        (own, {"CLASSIFIER_OFFLINE_MODEL": "deny", "CLASSIFIER_MODEL": "other/model"}, "resnet-18, not"),
        (own, {"CLASSIFIER_OFFLINE_MODEL": "deny", "CLASSIFIER_MODEL": str(tmp_path / "link")}, ""),
    ]
    asked = [{"CLASSIFIER_PREPARED_MODEL": f"{path.parent.name}:{path.name}", **of} for path, of, _ in cases]
    done = subprocess.run(
        [sys.executable, "-c", FIND],
        cwd=PROJECT,
        env={**inherited(), "BENTOML_HOME": str(tmp_path)},
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    for line, (_, _, says) in zip(done.stdout.splitlines(), cases, strict=True):
        assert bool(line) is bool(says), line
        assert says in line


def is_at_work(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_start_that_is_ended_while_it_prepares_leaves_nothing_at_work(tmp_path: Path, number: signal.Signals) -> None:
    store = tmp_path / "models"
    store.mkdir()
    server = Server(tmp_path / "it", store, CLASSIFIER_OFFLINE_MODEL="only")
    command = [sys.executable, "-m", "api.serve", "--port", str(server.port)]
    with (tmp_path / "log").open("w") as log:
        start = subprocess.Popen(
            command, cwd=PROJECT, env=server.environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(lambda: "Preparing" in (tmp_path / "log").read_text(), "it prepares")
        below = psutil.Process(start.pid).children(recursive=True)
        # Ctrl+C goes to all, other signals to the one that somebody names.
        (os.killpg if number == signal.SIGINT else os.kill)(start.pid, number)
        assert start.wait(PATIENCE_S) in (128 + number, -number)
        assert below
        wait_until(lambda: not any(map(is_at_work, below)), "all that it started has ended")
        assert not list(store.glob("*/*-*")), "they were ended before they were done"
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(start.pid, signal.SIGKILL)


@pytest.mark.parametrize("module", ["model.prepare", "model.tune", "model.quantize"])
def test_ctrl_c_ends_a_command_about_models_without_a_traceback(tmp_path: Path, module: str) -> None:
    interrupted = f"""
import runpy, sys
import model.prepare.preparation, model.quantize.quantization, model.tune.tuning
def main(): raise KeyboardInterrupt
for name in ("prepare.preparation", "quantize.quantization", "tune.tuning"):
    sys.modules["model." + name].main = main
runpy.run_module({module!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", interrupted], cwd=PROJECT, env=inherited(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
