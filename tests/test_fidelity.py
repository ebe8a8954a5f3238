"""The server's answers against transformers' own, in float32, on a ResNet-18 made on the spot: narrow in `make test`.

Requests are mixed under concurrency, so that the runner's batches are of many sizes; an answer that was another
request's would differ by far more than is allowed.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from configs.settings import Settings
from model import store
from model.engine import Engine
from model.images.decode import decode
from model.loading import load_engine
from model.store import PreparedModel
from testing.checkpoints import reference_probabilities, save_resnet18
from testing.photographs import as_base64, crops, encoded
from testing.servers import Server, running
from tests.prepare_all import prepare

IN_FULL = bool(os.environ.get("TORTURE"))
# Channels of the first layer. A quarter of microsoft/resnet-18's take a tenth of the time, and the same steps.
WIDTH = 64 if IN_FULL else 16
PHOTOGRAPHS = 20
ROUNDS = 4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "my-resnet-18"
    save_resnet18(folder, width=WIDTH)
    return folder


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [encoded(image, compress_level=1) for image in crops(PHOTOGRAPHS)]


@pytest.fixture(scope="module")
def photographs() -> tuple[Image.Image, ...]:
    """Large photographs would take a client longer to send than the server to classify; `files` are as they are."""
    photos = crops(PHOTOGRAPHS)
    return photos if IN_FULL else tuple(ImageOps.contain(photo, (400, 400)) for photo in photos)


@pytest.fixture(scope="module")
def sent(photographs: tuple[Image.Image, ...]) -> list[bytes]:
    return [encoded(image, compress_level=1) for image in photographs]


@pytest.fixture(scope="module")
def resnet_store(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    models = tmp_path_factory.mktemp("resnet") / "models"
    done = prepare(models, CLASSIFIER_MODEL=str(checkpoint))
    assert done.returncode == 0, done.stderr
    return models


@pytest.fixture(scope="module")
def reference(checkpoint: Path, photographs: tuple[Image.Image, ...]) -> list[dict[str, float]]:
    told = reference_probabilities(checkpoint, list(photographs))
    tops = {max(shares, key=lambda label: shares[label]) for shares in told}
    assert len(tops) > 5, "a model that says the same of every image could not tell answers apart"
    return told


@pytest.fixture(scope="module", params=[("f32", "service", 1e-4), ("auto", "embedded", 1e-2)], ids=["f32", "auto"])
def resnet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, resnet_store: Path, checkpoint: Path
) -> Iterator[tuple[Server, float]]:
    precision, runner, allowed = request.param
    folder = tmp_path_factory.mktemp(precision) / "it"
    settings = {"CLASSIFIER_MODEL": str(checkpoint), "CLASSIFIER_OFFLINE_MODEL": "deny"}
    with running(folder, resnet_store, CLASSIFIER_PRECISION=precision, CLASSIFIER_RUNNER=runner, **settings) as server:
        yield server, allowed


def test_every_confidence_is_the_references(
    resnet: tuple[Server, float], reference: list[dict[str, float]], sent: list[bytes]
) -> None:
    server, allowed = resnet
    key = server.create_key("fidelity@example.org", "--limit", "100000/minute")["key"]
    bodies = [{"image": as_base64(file)} for file in sent]
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(PHOTOGRAPHS), ROUNDS)).tolist()
    for callers in (1, 7, 16, 64) if IN_FULL else (1, 7, 64):
        with server.client(key) as client, ThreadPoolExecutor(callers) as pool:
            answers = list(pool.map(lambda number: client.post("/v1/classify", json=bodies[number]), order))
        assert {answer.status_code for answer in answers} == {200}
        worst = 0.0
        for number, answer in zip(order, answers, strict=True):
            assert answer.json()["model"] == "my-resnet-18"
            for found in answer.json()["predictions"]:
                worst = max(worst, abs(found["confidence"] - reference[number][found["label"]]))
        # Rounding to 4 decimals is half a unit of the last.
        assert worst <= allowed + 5e-5, f"{callers} callers: {worst}"


@pytest.fixture(scope="module")
def ready(resnet_store: Path) -> PreparedModel:
    [folder] = resnet_store.glob("my-resnet-18/*-*")
    return store.open_folder("my-resnet-18:it", folder)


@pytest.fixture(scope="module", params=["openvino", "torch"])
def loaded(ready: PreparedModel, request: pytest.FixtureRequest) -> Engine:
    engine, _ = load_engine(ready, Settings(engine=request.param, precision="f32", _env_file=None))
    return engine


@pytest.mark.parametrize("batch", [1, 7, 16])
def test_each_engine_agrees_at_each_batch_size(
    ready: PreparedModel, reference: list[dict[str, float]], loaded: Engine, batch: int, sent: list[bytes]
) -> None:
    images = [decode(file, ready.recipe, 10**8).pixels for file in sent[:batch]]
    answers = loaded.predict(np.stack(images))
    assert answers.shape == (batch, 1000)
    for told, shares in zip(reference, answers, strict=False):
        expected = np.array([told[label] for label in ready.manifest.labels])
        assert np.abs(shares - expected).max() <= 1e-4


def test_decoding_is_the_processors_to_the_pixel(ready: PreparedModel, checkpoint: Path, files: list[bytes]) -> None:
    from transformers import AutoImageProcessor

    recipe, processor = ready.recipe, AutoImageProcessor.from_pretrained(checkpoint)
    for image, file in zip(crops(PHOTOGRAPHS), files, strict=True):
        theirs = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        bytes_of_theirs = (theirs * np.array(recipe.std) + np.array(recipe.mean)) / recipe.scale
        assert np.abs(decode(file, recipe, 10**8).pixels - bytes_of_theirs).max() < 1e-2


def test_a_strip_is_close_to_what_the_whole_would_give(ready: PreparedModel) -> None:
    """Very long images are resized only where the crop will be: within rounding of the same."""
    recipe = ready.recipe
    strip = crops(1)[0].resize((5000, 64))
    whole = strip.resize((20000, 256), Image.Resampling(recipe.resample)).crop((9888, 16, 10112, 240))
    ours = decode(encoded(strip), recipe, 10**8).pixels
    assert np.abs(ours.astype(int) - np.asarray(whole).astype(int)).max() <= 1


def test_resizing_quickly_is_off_by_a_rounding(ready: PreparedModel, files: list[bytes]) -> None:
    for file in files:
        exact, quick = (decode(file, ready.recipe, 10**8, is_exact).pixels for is_exact in (True, False))
        assert np.abs(exact.astype(int) - quick).max() <= 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_quickly_and_nearly_the_same(ready: PreparedModel, orientation: int) -> None:
    """Where the answer is rounded more than that anyway: in bf16 and int8."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for crop in crops(4):
        data = encoded(crop.resize((3000, 2000)), "JPEG", quality=90, exif=exif)
        exact, quick = (decode(data, ready.recipe, 10**8, is_exact) for is_exact in (True, False))
        assert (quick.width, quick.height) == (exact.width, exact.height)
        assert (exact.width, exact.height) == ((3000, 2000) if orientation == 1 else (2000, 3000))
        off = np.abs(exact.pixels.astype(int) - quick.pixels)
        assert off.max() <= 8
        assert off.mean() < 0.5
