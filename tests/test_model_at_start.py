"""A start that is not to prepare a model: it serves the one that it is told, or stops with one line."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentoml
import psutil
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from model import store
from model.errors import ModelError
from model.store import Manifest
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
    manifest |= {"name": "resnet-18", "stand_in": False, "origin": "hub:resnet-18@v1", "revision": "0123abcd"}
    (own / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "resnet-18").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "resnet-18")
    cases = [
        (stand_in, {"CLASSIFIER_OFFLINE_MODEL": "deny"}, "CLASSIFIER_OFFLINE_MODEL=only"),
        (own, {"CLASSIFIER_OFFLINE_MODEL": "only"}, "asks for the stand-in"),
        (own, {"CLASSIFIER_OFFLINE_MODEL": "deny", "CLASSIFIER_MODEL": "other/model"}, "resnet-18, not"),
        (own, {"CLASSIFIER_OFFLINE_MODEL": "deny", "CLASSIFIER_MODEL": str(tmp_path / "link")}, ""),
        (own, {"CLASSIFIER_OFFLINE_MODEL": "deny", "CLASSIFIER_MODEL_REVISION": "v2"}, "resnet-18 at v1, not"),
        (own, {"CLASSIFIER_OFFLINE_MODEL": "deny", "CLASSIFIER_MODEL_REVISION": "v1"}, ""),
        (own, {"CLASSIFIER_OFFLINE_MODEL": "deny", "CLASSIFIER_MODEL_REVISION": "0123abcd"}, ""),
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


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Path]:
    """An empty model store, for this process."""
    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield folder
    BentoMLContainer.model_store.reset()


def made(folder: Path, name: str, revision: str = "r") -> store.PreparedModel:
    """Store what looks like a prepared model, made in that folder."""
    (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
    for file in (store.GRAPH, "openvino.bin", "checkpoint/config.json"):
        (folder / file).write_text("of the model")
    return store.save(Manifest("o", name, revision, False, ["a"], {}), folder)


def test_a_start_that_is_killed_while_it_stores_a_model_leaves_all_of_it_or_nothing(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile
    for last in itertools.count():
        numbers = itertools.count()

        def until_then(*files: Any, last: int = last, numbers: Iterator[int] = numbers, **options: Any) -> Any:
            if next(numbers) == last:
                raise KeyboardInterrupt
            return copy(*files, **options)

        with monkeypatch.context() as patched:
            patched.setattr(shutil, "copyfile", until_then)
            with contextlib.suppress(KeyboardInterrupt):
                made(tmp_path / "made", "mine")
                break
        assert store.find("mine", "o") is None
        assert bentoml.models.list() == []
        assert [path.name for path in models.parent.iterdir()] == ["models"]
    assert last > 4
    assert store.find("mine", "o") is not None


def test_a_damaged_model_is_passed_over_and_told(tmp_path: Path, models: Path) -> None:
    whole, damaged = made(tmp_path / "made", "mine"), made(tmp_path / "made", "mine", "s")
    assert store.find("mine", "o") == damaged
    kept = {path: path.read_bytes() for path in damaged.folder.rglob("*") if path.is_file()}
    for path, data in kept.items():
        for less in (None, b"", data[: len(data) // 2]):
            path.unlink()
            if less is not None:
                path.write_bytes(less)
            assert store.find("mine", "o") == whole, (path.name, less)
            with pytest.raises(ModelError, match="is damaged; run 'make model'"):
                store.get(damaged.tag)
            path.write_bytes(data)
    assert store.find("mine", "o") == damaged
    copied = Path(shutil.copytree(whole.folder, tmp_path / "copied"))
    (copied / "openvino-int8.bin").write_text("as make quantize adds it")
    assert store.save(replace(whole.manifest, revision="t"), copied) == store.find("mine", "o")


def test_a_model_is_served_by_its_own_name_however_long_or_alike(tmp_path: Path, models: Path) -> None:
    long = "an-owner/vit-base-patch16-224-in21k-finetuned-on-the-photographs-of-last-summer"
    for number, name in enumerate((long, f"{long}-and-winter", "Cats V2", "cats-v2", "模型", "😀")):
        assert store.find(name, "o") is None, "the same files under another name"
        stored = made(tmp_path / "made", name, f"r{number}")
        assert store.find(name, "o") == stored
        assert stored.manifest.name == name


def is_at_work(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_start_that_is_ended_while_it_prepares_leaves_nothing_at_work(tmp_path: Path, number: signal.Signals) -> None:
    store, temporary = tmp_path / "models", tmp_path / "temporary"
    store.mkdir()
    temporary.mkdir()
    server = Server(tmp_path / "it", store, CLASSIFIER_OFFLINE_MODEL="only", TMPDIR=str(temporary))
    command = [sys.executable, "-m", "api.serve", "--port", str(server.port)]
    with (tmp_path / "log").open("w") as log:
        start = subprocess.Popen(
            command, cwd=PROJECT, env=server.environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(lambda: "Converting" in (tmp_path / "log").read_text(), "it prepares, in a folder of its own")
        assert list(temporary.glob("classifier-*"))
        below = psutil.Process(start.pid).children(recursive=True)
        # Ctrl+C goes to all, other signals to the one that somebody names.
        (os.killpg if number == signal.SIGINT else os.kill)(start.pid, number)
        assert start.wait(PATIENCE_S) in (128 + number, -number)
        assert below
        wait_until(lambda: not any(map(is_at_work, below)), "all that it started has ended")
        assert not list(store.glob("*/*-*")), "they were ended before they were done"
        assert not list(temporary.glob("classifier-*"))
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(start.pid, signal.SIGKILL)


IN_MAIN = """
import model.prepare.preparation, model.quantize.quantization, model.tune.tuning
def main(): raise KeyboardInterrupt
for name in ("prepare.preparation", "quantize.quantization", "tune.tuning"):
    sys.modules["model." + name].main = main
"""
IN_IMPORTS = """
class Interrupt:
    def find_spec(self, name, *_):
        if name == "configs.settings": raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.parametrize("interrupted", [IN_MAIN, IN_IMPORTS], ids=["at work", "while it is imported"])
@pytest.mark.parametrize("module", ["model.prepare", "model.tune", "model.quantize"])
def test_ctrl_c_ends_a_command_about_models_without_a_traceback(module: str, interrupted: str) -> None:
    code = f"import runpy, sys\n{interrupted}\nrunpy.run_module({module!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=inherited(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
