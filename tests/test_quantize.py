"""`make quantize IMAGES=folder`: an int8 model where it answers well enough, and none where it does not."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from model.quantize.quantization import FEWEST_IMAGES
from model.tune.fidelity import Report
from testing.checkpoints import save_resnet18
from testing.photographs import as_base64, crops, encoded
from testing.servers import PROJECT, running
from tests.prepare_all import prepare

IN_FULL = bool(os.environ.get("TORTURE"))
# NNCF computes all of them once for each layer that it tries in float.
PHOTOS = 100 if IN_FULL else FEWEST_IMAGES


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    for number, image in enumerate(crops(PHOTOS)):
        place = folder / "more" if number % 3 == 0 else folder
        (place / f"{number:03}.jpg").write_bytes(encoded(image, "JPEG", quality=95))
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def quantize(model_store: Path, images: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLASSIFIER_")}
    environment |= {"BENTOML_HOME": str(model_store.parent), "BENTOML_DO_NOT_TRACK": "True", **settings}
    command = ["make", "--no-print-directory", "quantize", f"IMAGES={images}"]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained_logit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A model store with a ResNet-18 that is sure of what it sees, and the settings that name it."""
    folder = tmp_path_factory.mktemp("trained_logit")
    save_resnet18(folder / "sure-resnet", trained_logit=25.0, width=32)
    settings = {"CLASSIFIER_MODEL": str(folder / "sure-resnet"), "CLASSIFIER_OFFLINE_MODEL": "deny"}
    assert prepare(folder / "home" / "models", **settings).returncode == 0
    return folder / "home" / "models", settings


def test_int8_is_made_reported_and_served(
    trained_logit: tuple[Path, dict[str, str]], photos: Path, tmp_path: Path
) -> None:
    store, settings = trained_logit
    done = quantize(store, photos, **settings)
    assert done.returncode == 0, done.stderr
    assert f"Read {PHOTOS + 1} of {PHOTOS + 1} images (1 can't be read)" in done.stderr
    assert "On the half it has not seen" in done.stderr
    [kept] = [json.loads(path.read_text()) for path in store.glob("*/*/manifest.json") if "int8" in path.read_text()]
    report = kept["fidelity"]["int8"]
    assert report["images"] == PHOTOS // 2
    assert report["same_top1"] >= 0.99
    assert report["within"] <= 0.02
    assert report["largest"] <= 0.05
    with running(tmp_path / "it", store, CLASSIFIER_PRECISION="int8", **settings) as server:
        key = server.create_key("int8@example.org", "--limit", "1000/minute")["key"]
        with server.client(key) as client:
            answer = client.post("/v2/classify", json={"image": as_base64(encoded(crops(1)[0]))}).json()
    assert answer["model"]["precision"] == "int8"
    assert answer["predictions"][0]["class_id"] == 0, "the crop is of the first photograph"


def test_the_bar_is_the_contracts() -> None:
    theirs = np.full((100, 4), 0.1, np.float32)
    theirs[:, 0] = 0.7

    def off_by(*differences: float) -> Report:
        ours = theirs.copy()
        for number, difference in enumerate(differences):
            ours[number, 1] += difference
        return Report.of(theirs, ours)

    assert off_by().meets()
    assert off_by(0.049).meets(), "one of a hundred may be off by 0.05"
    assert not off_by(0.051).meets()
    assert not off_by(0.021, 0.021, 0.021).meets()
    turned = theirs.copy()
    turned[:2, 1] = 0.71
    assert Report.of(theirs, turned).same_top1 == 0.98
    assert not Report(100, 0.98, 0.0, 0.0).meets()


@pytest.mark.skipif(not IN_FULL, reason="it tries for three minutes before it gives up: make torture runs it")
def test_a_model_that_would_answer_otherwise_is_refused(tmp_path: Path, photos: Path) -> None:
    """A random network is sure of nothing, so that its first labels are close calls."""
    save_resnet18(tmp_path / "random")
    settings = {"CLASSIFIER_MODEL": str(tmp_path / "random"), "CLASSIFIER_OFFLINE_MODEL": "deny"}
    models = tmp_path / "home" / "models"
    assert prepare(models, **settings).returncode == 0
    done = quantize(models, photos, **settings)
    assert done.returncode == 2
    assert "int8 would be too inaccurate" in done.stderr
    assert "so it is not stored" in done.stderr
    assert not list(models.glob("*/*/openvino-int8.xml"))


def test_what_can_not_be_quantised_is_told_in_one_line(tmp_path: Path, model_store: Path) -> None:
    for images, says in ((tmp_path, "too few"), (tmp_path / "nowhere", "no folder")):
        done = quantize(model_store, images, CLASSIFIER_OFFLINE_MODEL="only")
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_int8_without_a_quantised_model_stops_the_start(tmp_path: Path, model_store: Path) -> None:
    with (
        pytest.raises(AssertionError, match="CLASSIFIER_PRECISION=int8 needs a quantised model"),
        running(tmp_path / "it", model_store, CLASSIFIER_PRECISION="int8"),
    ):
        pass
