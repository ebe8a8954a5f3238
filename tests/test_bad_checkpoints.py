"""Checkpoints that something is wrong with: one line that names the file and the reason, and nothing is stored."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from model import store
from model.checkpoint.files import check
from model.errors import UnsupportedModel
from model.images.resize import fit
from model.openvino_engine import OpenVinoEngine
from model.store import GRAPH
from testing.photographs import crops
from testing.servers import Server, run_prepare
from tests.bad_checkpoints import BAD, ODD, edit
from tests.families import pipeline_answers, save_family
from tests.prepare_all import prepare, prepare_all

IN_FULL = bool(os.environ.get("TORTURE"))
# Of all changes to a field; the rest are tried by make torture.
MUTATIONS = 400 if IN_FULL else 40


@pytest.fixture(scope="session")
def good(run_folder: Path) -> Path:
    folder = run_folder / "good-checkpoint"
    with FileLock(run_folder / "good-checkpoint.lock"):
        if not folder.exists():
            save_family("vit", run_folder / "good-checkpoint-half")
            (run_folder / "good-checkpoint-half").rename(folder)
    return folder


@pytest.fixture(scope="session")
def tried(run_folder: Path, good: Path) -> Path:
    """A folder with every spoilt checkpoint, what was said of each, and a model store."""
    folder = run_folder / "spoilt"
    with FileLock(run_folder / "spoilt.lock"):
        if not (folder / "told.json").exists():
            for name, (spoil, _) in {**BAD, **ODD}.items():
                shutil.copytree(good, folder / "checkpoints" / name)
                spoil(folder / "checkpoints" / name)
            told = prepare_all(folder / "home" / "models", sorted((folder / "checkpoints").iterdir()))
            (folder / "told.json").write_text(json.dumps(told))
    return folder


def told_of(tried: Path, name: str) -> tuple[int, str]:
    status, said = json.loads((tried / "told.json").read_text())[name]
    return status, said


def assert_one_line(said: str) -> str:
    assert "Traceback" not in said
    assert "/tmp" not in said
    [line] = [line for line in said.splitlines() if "ERROR" in line]
    assert line.startswith("[model] ERROR: ")
    assert line.endswith(".")
    return line


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_in_one_line(tried: Path, name: str) -> None:
    status, said = told_of(tried, name)
    assert status == 1, said
    line = assert_one_line(said)
    for word in BAD[name][1]:
        assert word in line, line
    assert not (tried / "home" / "models" / name).exists()


@pytest.mark.parametrize("name", ODD)
def test_what_only_looks_odd_is_served_as_transformers_answers(tried: Path, name: str) -> None:
    status, said = told_of(tried, name)
    assert status == 0, said
    [folder] = (tried / "home" / "models" / name).glob("*-*")
    prepared = store.open_folder(name, folder)
    labels = prepared.manifest.labels
    assert labels == ODD[name][1]
    pictures = list(crops(3))
    told = [{str(label): score for label, score in one.items()} for one in answers(tried / "checkpoints" / name)]
    expected = np.array([[one[label] for label in labels] for one in told])
    pixels = np.stack([fit(picture, prepared.recipe) for picture in pictures])
    assert np.abs(OpenVinoEngine(folder / GRAPH, "f32", threads=1).predict(pixels) - expected).max() <= 1e-4


def answers(folder: Path) -> list[dict[Any, float]]:
    return list(pipeline_answers(folder, list(crops(3))))


def test_a_start_says_the_same_line(tried: Path, tmp_path: Path) -> None:
    """As an operator meets it: `make serve` prepares the model, and stops."""
    from tests.test_model_at_start import serve_and_fail

    (tmp_path / "models").mkdir()
    settings = {"CLASSIFIER_MODEL": str(tried / "checkpoints" / "lfs-weights"), "CLASSIFIER_OFFLINE_MODEL": "deny"}
    said = serve_and_fail(Server(tmp_path / "it", tmp_path / "models", **settings))
    # (BentoML tells where its configuration lies.)
    ours = "\n".join(line for line in said.splitlines() if line.startswith("[model]"))
    assert "git lfs pull" in assert_one_line(ours)


@pytest.mark.parametrize("answer", ["y\n" * 9, ""])
def test_a_checkpoints_own_code_never_runs(tmp_path: Path, good: Path, answer: str) -> None:
    """Nobody is asked whether it may, and whoever says yes unasked is not heard."""
    marker, folder = tmp_path / "it-ran", tmp_path / "own-code"
    shutil.copytree(good, folder)
    (folder / "own.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil\n"
        "class OwnConfig(ViTConfig):\n    model_type = 'own'\n"
        "class OwnModel(ViTForImageClassification):\n    config_class = OwnConfig\n"
        "class OwnProcessor(ViTImageProcessorPil):\n    pass\n"
    )
    code = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.OwnModel"}
    edit(folder, "config.json", model_type="own", auto_map=code)
    edit(folder, "preprocessor_config.json", auto_map={"AutoImageProcessor": "own.OwnProcessor"})
    told = prepare_all(tmp_path / "home" / "models", [folder], stdin=answer)
    status, said = told["own-code"]
    assert status == 1
    line = assert_one_line(said)
    assert "auto_map" in line
    assert not marker.exists()


def test_code_that_no_check_has_seen_does_not_run_either(tmp_path: Path, good: Path) -> None:
    """The calls of transformers themselves say so, whatever was checked before them."""
    from model.prepare import reference

    marker, folder = tmp_path / "it-ran", tmp_path / "own-code"
    shutil.copytree(good, folder)
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    edit(folder, "preprocessor_config.json", auto_map={"AutoImageProcessor": "own.Own"}, image_processor_type="Own")
    with pytest.raises(UnsupportedModel):
        reference.load(folder)
    assert not marker.exists()


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, good: Path) -> None:
    folder = tmp_path / "closed"
    shutil.copytree(good, folder)
    (folder / "config.json").chmod(0)
    if os.geteuid() == 0:
        # To root every file is open.
        for part in (tmp_path, *tmp_path.parents):
            if part.owner() == "root" and part.is_relative_to("/tmp/pytest-of-root"):
                part.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(UnsupportedModel, match=r"config\.json: it may not be read"):
            check(folder)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_file_in_place_of_the_directory_is_told(tmp_path: Path, good: Path) -> None:
    done = run_prepare(tmp_path / "models", CLASSIFIER_MODEL=str(good / "model.safetensors"))
    assert done.returncode == 1
    assert "CLASSIFIER_MODEL names a file" in assert_one_line(done.stderr)


def test_a_graph_that_cant_be_saved_is_not_blamed_on_the_model(tmp_path: Path, good: Path) -> None:
    """As on a full disk: the path of the temporary folder is so long that no file in it can be created."""
    longest, folder = 4070, tmp_path
    while len(str(folder)) < longest - 210:
        folder /= "x" * 200
    folder /= "x" * (longest - len(str(folder)) - 1)
    folder.mkdir(parents=True)
    done = prepare(tmp_path / "models", CLASSIFIER_MODEL=str(good), TMPDIR=str(folder))
    assert done.returncode == 1
    assert "check that the disk has room where BENTOML_HOME and TMPDIR are" in assert_one_line(done.stderr)


def test_a_fork_says_and_returns_what_a_new_process_does(tmp_path: Path, good: Path) -> None:
    """Most tests prepare in a fork of a process that has imported torch."""
    for arguments, setting in (([], str(good / "config.json")), ([], "\n"), (["--nonsense"], str(good))):
        forked, new = (way(tmp_path / "models", *arguments, CLASSIFIER_MODEL=setting) for way in (prepare, run_prepare))
        assert vars(forked) == vars(new)
        assert forked.returncode > 0
        assert forked.stderr


def mutations(folder: Path) -> list[tuple[str, str, Any]]:
    """Every field of both files, left out, null, and of each wrong type, in an order of chance, the same every time."""
    wrong: list[Any] = [..., None, "text", -1, 0, 1.5, True, [], {}, [None], {"a": []}]
    found = []
    for file in ("config.json", "preprocessor_config.json"):
        for key in json.loads((folder / file).read_text()):
            found += [(file, key, value) for value in wrong]
    random.Random(14).shuffle(found)
    return found


def test_no_change_of_a_field_gives_a_traceback(tmp_path: Path, good: Path) -> None:
    for number, (file, key, value) in enumerate(mutations(good)[:MUTATIONS]):
        folder = tmp_path / "checkpoints" / f"{number:03}"
        shutil.copytree(good, folder)
        values = json.loads((folder / file).read_text())
        values.pop(key)
        (folder / file).write_text(json.dumps(values if value is ... else {**values, key: value}))
    told = prepare_all(tmp_path / "home" / "models", sorted((tmp_path / "checkpoints").iterdir()))
    refused = 0
    for status, said in told.values():
        if status:
            refused += 1
            line = assert_one_line(said)
            assert "config.json" in line or "model.safetensors" in line, line
    assert 0 < refused < len(told)
