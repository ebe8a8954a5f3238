"""The engine on CPUs: the same pixels have the same answer, however they lie in memory and whatever came before."""

from pathlib import Path

import numpy as np
import pytest

from model import store
from model.engine import Images
from model.openvino_engine import OpenVinoEngine
from model.store import PreparedModel

# Computed twice, and in batches of other sizes, where sums may be added up in another order.
TWICE, IN_OTHER_BATCHES = 1e-6, 1e-5


@pytest.fixture(scope="module")
def prepared(model_store: Path) -> PreparedModel:
    [folder] = model_store.glob("efficientnet*/*-*")
    return store.open_folder("it:1", folder)


@pytest.fixture(scope="module")
def engine(prepared: PreparedModel) -> OpenVinoEngine:
    return OpenVinoEngine(prepared.folder / store.GRAPH, "f32", threads=2)


@pytest.fixture(scope="module")
def images(prepared: PreparedModel) -> Images:
    """Noise, 3 x height x width x 3."""
    recipe = prepared.recipe
    return np.random.default_rng(0).integers(0, 256, (3, recipe.height, recipe.width, 3), np.uint8)


def _read_only(images: Images) -> Images:
    copy = images.copy()
    copy.flags.writeable = False
    return copy


def _mirrored(images: Images) -> Images:
    """The same pixels, which lie in memory from right to left."""
    return images[:, :, ::-1].copy()[:, :, ::-1]


@pytest.mark.parametrize("together", [True, False])
def test_an_image_has_one_answer_wherever_it_lies(engine: OpenVinoEngine, images: Images, together: bool) -> None:
    expected = engine.predict(images, together)
    assert np.ptp(expected, axis=0).max() > 100 * IN_OTHER_BATCHES, "the images differ"
    for arranged in (_read_only(images), _mirrored(images), images[::-1].copy()[::-1]):
        assert np.abs(engine.predict(arranged, together) - expected).max() < TWICE
    for number, image in enumerate(images):
        assert np.abs(engine.predict(image[np.newaxis], together) - expected[number]).max() < IN_OTHER_BATCHES


def test_an_answer_is_not_changed_by_later_ones(engine: OpenVinoEngine, images: Images) -> None:
    answers = [engine.predict(image[np.newaxis]) for image in images]
    kept = [answer.copy() for answer in answers]
    # More than there are requests, so that each is used again.
    for image in np.concatenate([images, images]):
        engine.predict(255 - image[np.newaxis])
    for answer, copy in zip(answers, kept, strict=True):
        assert np.array_equal(answer, copy)
