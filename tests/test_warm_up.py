"""What an engine computes before it serves: as little as it takes to answer the first caller at full speed."""

from pathlib import Path

import numpy as np
import pytest

from configs.settings import Settings
from model import loading
from model.configuration import Choice, Configuration, Row
from model.engine import Images, Probabilities
from model.store import Manifest, PreparedModel
from tests.seeing import RECIPE

CONFIGURATION = Configuration("f32", "exact", threads=2, streams=2, batch_size=8)
MEASURED = Choice(CONFIGURATION, "float32: 9000 images/s", "2026-11-25T08:00:00+00:00", (Row(CONFIGURATION, 9e9),))
PREPARED = PreparedModel("it:1", Path("nowhere"), Manifest("stand-in", "it", "1", False, ["a", "b"], RECIPE.to_dict()))


class Recording:
    """An engine that records how many images it computes, and whether on all of its threads."""

    precision = "f32"

    def __init__(self, name: str) -> None:
        self.name = name
        self.streams = 1 if name == "torch" else CONFIGURATION.streams
        self.batches: list[tuple[int, bool]] = []

    def predict(self, images: Images, together: bool = True) -> Probabilities:
        self.batches.append((len(images), together))
        return np.zeros((len(images), 2), np.float32)


def loaded(
    monkeypatch: pytest.MonkeyPatch, choice: Choice, name: str = "openvino"
) -> tuple[list[tuple[int, bool]], float]:
    """Load an engine of that name; return what it computed, and its images per second."""
    engine = Recording(name)
    monkeypatch.setattr(loading, "load", lambda *_: engine)
    given = Settings(_env_file=None, tuned=choice.to_json(), engine="openvino")
    _, description = loading.load_engine(PREPARED, given)
    return engine.batches, description.images_per_s


@pytest.mark.parametrize(
    "choice",
    [MEASURED, Choice(CONFIGURATION, "not measured"), Choice(CONFIGURATION, "", "", (Row(CONFIGURATION, 1e-9),))],
    ids=["measured", "not measured", "measured when the machine was busy"],
)
def test_a_cpu_computes_single_images(monkeypatch: pytest.MonkeyPatch, choice: Choice) -> None:
    batches, images_per_s = loaded(monkeypatch, choice)
    # One on each stream; one on all threads; and one on each stream, at the same time, to tell the speed.
    assert batches == [(1, False), (1, False), (1, True), (1, False), (1, False)]
    assert images_per_s == 9e9 if choice is MEASURED else 1 < images_per_s < 9e9


def test_a_gpu_computes_batches_of_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    batches, images_per_s = loaded(monkeypatch, MEASURED, "torch")
    assert batches == [(1, False), (1, True), (2, True), (4, True), (8, True), (8, True)]
    assert 0 < images_per_s < 9e9
