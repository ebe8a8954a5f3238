"""What an engine computes before it serves: as little as it takes to answer the first caller at full speed."""

from pathlib import Path
from typing import Any

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
    monkeypatch: pytest.MonkeyPatch, choice: Choice, name: str = "openvino", **settings: Any
) -> tuple[list[tuple[int, bool]], float]:
    """Load an engine of that name; return what it computed, and its images per second."""
    engine = Recording(name)
    monkeypatch.setattr(loading, "load", lambda *_: engine)
    given = Settings(_env_file=None, tuned=choice.to_json(), engine="openvino", **settings)
    _, description = loading.load_engine(PREPARED, given)
    return engine.batches, description.images_per_s


def test_a_processor_whose_speed_is_known_computes_single_images(monkeypatch: pytest.MonkeyPatch) -> None:
    batches, images_per_s = loaded(monkeypatch, MEASURED)
    # One on each stream; one on all threads, and once more, since the machine may have been busy when it was measured.
    assert batches == [(1, False), (1, False), (1, True), (1, True)]
    assert images_per_s == 9e9
    slow = Choice(CONFIGURATION, MEASURED.why, MEASURED.measured_at, (Row(CONFIGURATION, 1e-9),))
    assert loaded(monkeypatch, slow)[1] > 1


@pytest.mark.parametrize(
    ("choice", "settings"),
    [(Choice(CONFIGURATION, "not measured"), {}), (MEASURED, {"max_batch_size": 4})],
    ids=["not measured", "another size of batches"],
)
def test_otherwise_each_stream_computes_batches_of_each_size(
    monkeypatch: pytest.MonkeyPatch, choice: Choice, settings: dict[str, Any]
) -> None:
    """As callers' batches are: those on all threads have one image, and would need memory of their own."""
    batches, images_per_s = loaded(monkeypatch, choice, **settings)
    most = settings.get("max_batch_size", 8)
    assert batches[:3] == [(1, False), (1, False), (1, True)]
    sizes = [*(size for size in (2, 4, 8) if size < most), most, most]
    assert batches[3:] == [(size, False) for size in sizes for _ in range(CONFIGURATION.streams)]
    assert 0 < images_per_s < 9e9


def test_a_gpu_computes_batches_of_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    batches, images_per_s = loaded(monkeypatch, MEASURED, "torch")
    assert batches == [(1, False), (1, True), (2, True), (4, True), (8, True), (8, True)]
    assert 0 < images_per_s < 9e9
