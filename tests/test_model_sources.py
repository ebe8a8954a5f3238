"""Where a start finds its model: the hub, its cache, a directory, the stand-in; and what it says where it finds none.

The real client library is used throughout; see `hub.py` for what answers it.
"""

import json
import shutil
import socket
import subprocess
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
from testing.ports import free_port
from testing.servers import run_prepare, running
from tests.hub import COMMIT, Hub
from tests.prepare_all import prepare as prepare_warm
from tests.prepare_all import prepare_with

NEWER = "f" * 40
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "resnet-18"
    save_resnet18(folder, width=8)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where all tests of this file look for the hub and keep its cache: its library reads it when it is imported."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    cache = tmp_path_factory.mktemp("cache") / "it"
    return {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}


@pytest.fixture(autouse=True)
def empty_cache(place: dict[str, str]) -> None:
    shutil.rmtree(place["HF_HOME"], ignore_errors=True)


@pytest.fixture
def hub(checkpoint: Path, place: dict[str, str]) -> Iterator[Hub]:
    """A hub at that place; without it, nothing listens there."""
    hub = Hub(checkpoint, port_of(place))
    yield hub
    hub.close()


def port_of(place: dict[str, str]) -> int:
    return int(place["HF_ENDPOINT"].rpartition(":")[2])


def prepare(models: Path, place: dict[str, str], *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return prepare_with(place, models, *arguments, **settings)


def manifests(models: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(models.glob("*/*/manifest.json"))]


def test_a_model_is_fetched_from_the_hub_once_and_its_commit_kept(
    tmp_path: Path, hub: Hub, place: dict[str, str]
) -> None:
    models = tmp_path / "home" / "models"
    wanted = {"CLASSIFIER_MODEL": "ours/resnet", "CLASSIFIER_OFFLINE_MODEL": "deny"}
    # Once with the real command, which reads the hub's variables when it starts.
    done = run_prepare(models, **place, **wanted)
    assert done.returncode == 0, done.stderr
    [manifest] = manifests(models)
    assert (manifest["name"], manifest["revision"], manifest["stand_in"]) == ("ours/resnet", COMMIT, False)
    assert "%" in done.stderr, "no progress was shown"

    # The hub moves on; a later start serves what was prepared, and does not even ask.
    hub.main, hub.asked[:] = NEWER, []
    assert prepare(models, place, **wanted).returncode == 0
    assert hub.asked == []
    assert [manifest["revision"] for manifest in manifests(models)] == [COMMIT]

    # Only `make model` prepares anew.
    done = prepare(models, place, "--anew", **wanted)
    assert done.returncode == 0, done.stderr
    assert {manifest["revision"] for manifest in manifests(models)} == {COMMIT, NEWER}

    # With the hub gone or too busy, and the model store lost, the hub's cache on this machine will do.
    hub.refuses = {"/revision/main": 429}
    for elsewhere in (tmp_path / "busy" / "models", tmp_path / "gone" / "models"):
        if elsewhere.parent.name == "gone":
            hub.close()
        assert prepare(elsewhere, place, **wanted).returncode == 0
        assert [manifest["revision"] for manifest in manifests(elsewhere)] == [NEWER]

    # With neither, what is prepared stays, and `make model` does not say that another model serves.
    shutil.rmtree(place["HF_HOME"])
    done = prepare(models, place, "--anew", CLASSIFIER_MODEL="ours/resnet")
    assert done.returncode == 1
    assert "is kept; try again later" in done.stderr
    assert "stand-in" not in done.stderr


def test_a_model_that_the_hub_does_not_have_is_no_reason_for_the_stand_in(
    tmp_path: Path, hub: Hub, place: dict[str, str]
) -> None:
    done = prepare(tmp_path / "models", place, CLASSIFIER_MODEL="ours/nothing")
    assert done.returncode == 1
    assert "ours/nothing" in done.stderr
    assert manifests(tmp_path / "models") == []


def test_weights_that_the_hub_refuses_are_no_reason_for_the_stand_in(
    tmp_path: Path, hub: Hub, place: dict[str, str]
) -> None:
    """As with a gated model: everybody may read its other files, but not the weights."""
    hub.refuses = {"model.safetensors": 403}
    done = prepare(tmp_path / "models", place, CLASSIFIER_MODEL="ours/resnet")
    assert done.returncode == 1
    assert "The Hugging Face hub refuses ours/resnet (403)" in done.stderr
    assert manifests(tmp_path / "models") == []


def test_a_hub_that_has_had_too_many_requests_is_as_one_that_is_away(
    tmp_path: Path, hub: Hub, place: dict[str, str]
) -> None:
    hub.refuses = {"/revision/main": 429}
    done = prepare(tmp_path / "models", place, CLASSIFIER_MODEL="ours/resnet", CLASSIFIER_OFFLINE_MODEL="deny")
    assert done.returncode == 1
    assert "can't be reached (it answers 429)" in done.stderr


def test_weights_that_arrive_damaged_are_told_and_fetched_again(
    tmp_path: Path, hub: Hub, place: dict[str, str]
) -> None:
    hub.damages = "model.safetensors"
    done = prepare(tmp_path / "models", place, CLASSIFIER_MODEL="ours/resnet")
    assert done.returncode == 1
    assert "The file model.safetensors in the Hugging Face hub's cache was damaged, and was deleted" in done.stderr
    assert manifests(tmp_path / "models") == []
    hub.damages = ""
    assert prepare(tmp_path / "models", place, CLASSIFIER_MODEL="ours/resnet").returncode == 0


def test_a_cache_that_takes_no_files_is_told_and_no_reason_for_the_stand_in(
    tmp_path: Path, hub: Hub, place: dict[str, str]
) -> None:
    Path(place["HF_HOME"]).write_text("a file in its place, as to root no folder is closed")
    try:
        done = prepare(tmp_path / "models", place, CLASSIFIER_MODEL="ours/resnet")
    finally:
        Path(place["HF_HOME"]).unlink()
    assert done.returncode == 1
    assert "can't be stored in the Hugging Face hub's cache (Not a directory); make room" in done.stderr
    assert "HF_HOME" in done.stderr


def test_an_unreachable_hub_is_answered_by_the_stand_in_and_loudly(tmp_path: Path, place: dict[str, str]) -> None:
    done = prepare(tmp_path / "models", place)
    assert done.returncode == 0, done.stderr
    assert "WARNING" in done.stderr
    assert "stand-in" in done.stderr
    assert [manifest["stand_in"] for manifest in manifests(tmp_path / "models")] == [True]


def test_a_hub_that_never_answers_is_given_up(tmp_path: Path, place: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", port_of(place))):
        began = time.monotonic()
        done = prepare(tmp_path / "models", place, CLASSIFIER_OFFLINE_MODEL="deny")
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


@pytest.mark.parametrize(
    "endpoint", ["not a url", "ftp://x", "http://localhost:abc", "http://localhost:99999", "http://[::1", "http://a b"]
)
def test_an_address_that_is_none_is_told_in_one_line(
    tmp_path: Path, with_stand_in: PreparedModel, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert ask_again() is None, "the preparation tells why"
    for offline_model in ("allow", "deny"):
        done = run_prepare(tmp_path / "models", HF_ENDPOINT=endpoint, CLASSIFIER_OFFLINE_MODEL=offline_model)
        [line] = done.stderr.splitlines()
        assert done.returncode == 1
        assert line.startswith("[model] ERROR: HF_ENDPOINT is not the URL of a hub")


def test_an_empty_address_is_that_of_the_hub(tmp_path: Path) -> None:
    for empty in ("", "\n"):
        told = {"HF_ENDPOINT": empty, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
        done = run_prepare(tmp_path / "models", CLASSIFIER_OFFLINE_MODEL="deny", **told)
        assert "The Hugging Face hub can't be reached (OfflineModeIsEnabled)." in done.stderr


def test_a_hub_that_answers_decides_about_a_prepared_stand_in(
    tmp_path: Path, with_stand_in: PreparedModel, hub: Hub, place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", place["HF_ENDPOINT"])
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


def test_a_directory_that_is_no_checkpoint_is_told_what_it_lacks(tmp_path: Path, checkpoint: Path) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "config.json").write_text((checkpoint / "config.json").read_text())
    done = prepare_warm(tmp_path / "models", CLASSIFIER_MODEL=str(folder))
    assert done.returncode == 1
    assert "preprocessor_config.json, model.safetensors (pytorch_model.bin is not read" in done.stderr
    done = prepare_warm(tmp_path / "models", CLASSIFIER_MODEL="https://huggingface.co/microsoft/resnet-18")
    assert done.returncode == 1
    assert "CLASSIFIER_MODEL is an address; give the model's name" in done.stderr


def test_another_checkpoint_in_the_same_directory_is_another_version(tmp_path: Path) -> None:
    folder, models = tmp_path / "mine", tmp_path / "home" / "models"
    for seed in (1, 2):
        save_resnet18(folder, seed, width=8)
        assert prepare_warm(models, CLASSIFIER_MODEL=str(folder)).returncode == 0
    assert len({manifest["revision"] for manifest in manifests(models)}) == 2
