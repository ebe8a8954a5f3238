"""Where a start finds its model: the hub, its cache, a directory, the stand-in; and what it says where it finds none.

The real client library is used throughout; see `hub.py` for what answers it.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from model.prepare import hub as hub_again
from model.prepared import STAND_IN_NAME
from model.store import PreparedModel, open_folder
from testing.checkpoints import save_resnet18
from testing.servers import PROJECT, Server, run_prepare, running
from tests.hub import COMMIT, Hub
from tests.prepare_all import prepare as prepare_warm

NEWER = "f" * 40
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "resnet-18"
    save_resnet18(folder, width=8)
    return folder


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[Hub]:
    hub = Hub(checkpoint)
    yield hub
    hub.close()


def prepare(models: Path, cache: Path, hub: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return run_prepare(models, HF_ENDPOINT=hub, HF_HOME=str(cache), HF_HUB_DISABLE_XET="1", **settings)


def manifests(models: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(models.glob("*/*/manifest.json"))]


def test_a_model_is_fetched_from_the_hub_once_and_its_commit_kept(tmp_path: Path, hub: Hub) -> None:
    models, cache = tmp_path / "home" / "models", tmp_path / "cache"
    wanted = {"CLASSIFIER_MODEL": "ours/resnet", "CLASSIFIER_OFFLINE_MODEL": "deny"}
    done = prepare(models, cache, hub.url, **wanted)
    assert done.returncode == 0, done.stderr
    [manifest] = manifests(models)
    assert (manifest["name"], manifest["revision"], manifest["stand_in"]) == ("ours/resnet", COMMIT, False)
    assert "%" in done.stderr, "no progress was shown"

    # The hub moves on; a later start serves what was prepared, and does not even ask.
    hub.main, hub.asked[:] = NEWER, []
    assert prepare(models, cache, hub.url, **wanted).returncode == 0
    assert hub.asked == []
    assert [manifest["revision"] for manifest in manifests(models)] == [COMMIT]

    # Only `make model` prepares anew.
    done = run_prepare(models, "--anew", HF_ENDPOINT=hub.url, HF_HOME=str(cache), HF_HUB_DISABLE_XET="1", **wanted)
    assert done.returncode == 0, done.stderr
    assert {manifest["revision"] for manifest in manifests(models)} == {COMMIT, NEWER}

    # With the hub gone and the model store lost, the hub's cache on this machine will do.
    elsewhere = tmp_path / "elsewhere" / "models"
    assert prepare(elsewhere, cache, NOWHERE, **wanted).returncode == 0
    assert [manifest["revision"] for manifest in manifests(elsewhere)] == [NEWER]


def test_a_model_that_the_hub_does_not_have_is_no_reason_for_the_stand_in(tmp_path: Path, hub: Hub) -> None:
    done = prepare(tmp_path / "models", tmp_path / "cache", hub.url, CLASSIFIER_MODEL="ours/nothing")
    assert done.returncode == 1
    assert "ours/nothing" in done.stderr
    assert manifests(tmp_path / "models") == []


def test_an_unreachable_hub_is_answered_by_the_stand_in_and_loudly(tmp_path: Path) -> None:
    done = prepare(tmp_path / "models", tmp_path / "cache", NOWHERE)
    assert done.returncode == 0, done.stderr
    assert "WARNING" in done.stderr
    assert "stand-in" in done.stderr
    assert [manifest["stand_in"] for manifest in manifests(tmp_path / "models")] == [True]


def test_a_hub_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        hub = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = prepare(tmp_path / "models", tmp_path / "cache", hub, CLASSIFIER_OFFLINE_MODEL="deny")
        assert time.monotonic() - began < 90, "which is what several attempts would take that are each waited for"
    assert done.returncode == 1
    assert "CLASSIFIER_OFFLINE_MODEL=allow" in done.stderr


@pytest.fixture
def with_stand_in(tmp_path: Path, model_store: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedModel:
    """Have a prepared stand-in, and an empty cache of the hub."""
    [folder] = model_store.glob(f"{STAND_IN_NAME}/*-*")
    stand_in = open_folder(f"{folder.parent.name}:{folder.name}", folder)
    monkeypatch.setattr(hub_again, "find_stand_in", lambda: stand_in)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return stand_in


def ask_again(name: str = "ours/nothing", offline_model: Any = "allow") -> PreparedModel | None:
    return hub_again.stand_in_again(Settings(_env_file=None, model=name, offline_model=offline_model))


def test_a_prepared_stand_in_serves_again_while_the_hub_is_unreachable(
    with_stand_in: PreparedModel, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert ask_again() == with_stand_in
    said = capfd.readouterr().err
    assert "WARNING: The Hugging Face hub can't be reached (ConnectError)." in said
    assert f"Serving the offline stand-in {STAND_IN_NAME} instead of ours/nothing." in said
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert ask_again() == with_stand_in
        assert "Timeout" in capfd.readouterr().err
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ask_again() == with_stand_in
    assert "(OfflineModeIsEnabled)" in capfd.readouterr().err


def test_a_hub_that_answers_decides_about_a_prepared_stand_in(
    tmp_path: Path, with_stand_in: PreparedModel, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert ask_again() is None, "it answers 404, and its client tells why"
    assert ask_again("ours/resnet") is None
    assert hub.asked == ["/api/models/ours/nothing", "/api/models/ours/resnet"]
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert ask_again("no such/name!") is None
    assert ask_again(offline_model="deny") is None
    (tmp_path / "cache" / "hub" / "models--ours--nothing").mkdir(parents=True)
    assert ask_again() is None, "what the cache has may be served"


def test_a_start_that_serves_the_stand_in_again_loads_nothing_that_prepares(tmp_path: Path, model_store: Path) -> None:
    unreachable = {"HF_ENDPOINT": NOWHERE, "HF_HOME": str(tmp_path / "cache"), "PYTHONPROFILEIMPORTTIME": "1"}
    with running(tmp_path / "it", model_store, CLASSIFIER_OFFLINE_MODEL="allow", **unreachable) as server:
        said = server.log.read_text()
    assert "can't be reached (ConnectError). Serving the offline stand-in" in said
    loaded = {line.rpartition("|")[2].strip() for line in said.splitlines() if "import time:" in line}
    assert "model.prepare.hub" in loaded
    assert {"torch", "huggingface_hub", "model.prepare.preparation"} & loaded == set()


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


def test_a_directory_that_is_no_checkpoint_is_told_what_it_lacks(tmp_path: Path, checkpoint: Path) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "config.json").write_text((checkpoint / "config.json").read_text())
    done = prepare_warm(tmp_path / "models", CLASSIFIER_MODEL=str(folder))
    assert done.returncode == 1
    assert "preprocessor_config.json, model.safetensors" in done.stderr


def test_another_checkpoint_in_the_same_directory_is_another_version(tmp_path: Path) -> None:
    folder, models = tmp_path / "mine", tmp_path / "home" / "models"
    for seed in (1, 2):
        save_resnet18(folder, seed, width=8)
        assert prepare_warm(models, CLASSIFIER_MODEL=str(folder)).returncode == 0
    assert len({manifest["revision"] for manifest in manifests(models)}) == 2


def test_a_chosen_model_is_served_only_where_the_other_settings_agree(tmp_path: Path, model_store: Path) -> None:
    """As in an image, which holds one model: what it does not hold is told, not passed over."""
    models = tmp_path / "home" / "models"
    shutil.copytree(model_store, models)
    [path] = models.glob("*/*-*/manifest.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "resnet-18", "stand_in": False}))
    [own], [stand_in] = ([f"{p.parent.name}:{p.name}" for p in store.glob("*/*-*")] for store in (models, model_store))
    (tmp_path / "resnet-18").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "resnet-18")
    cases: list[tuple[Path, str, dict[str, str], str]] = [
        (model_store, stand_in, {"CLASSIFIER_OFFLINE_MODEL": "deny"}, "CLASSIFIER_OFFLINE_MODEL=only"),
        (models, own, {"CLASSIFIER_OFFLINE_MODEL": "only"}, "asks for the stand-in"),
        (models, own, {"CLASSIFIER_OFFLINE_MODEL": "deny", "CLASSIFIER_MODEL": "other/model"}, "resnet-18, not"),
        (models, own, {"CLASSIFIER_OFFLINE_MODEL": "deny", "CLASSIFIER_MODEL": str(tmp_path / "link")}, ""),
    ]
    for number, (store, tag, settings, said) in enumerate(cases):
        server = Server(tmp_path / str(number), store, CLASSIFIER_PREPARED_MODEL=tag, **settings)
        command = [sys.executable, "-c", "import service"]
        done = subprocess.run(command, cwd=PROJECT, env=server.environment, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) is bool(said), done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
