"""The service with a model that does nothing: what is measured is the way to it."""

import numpy as np

import model.engine
from configs.settings import Settings
from model.engine import Description, Images, Probabilities
from model.store import PreparedModel


class IdleEngine:
    """Says the same of every image, at once."""

    name, precision, streams = "idle", "f32", 1

    def __init__(self, labels: int) -> None:
        self._row = np.full((1, labels), 1 / labels, np.float32)

    def predict(self, images: Images, together: bool = True) -> Probabilities:  # noqa: ARG002 - it has one stream
        return np.repeat(self._row, len(images), axis=0)


def _load(prepared: PreparedModel, _settings: Settings) -> tuple[IdleEngine, Description]:
    return IdleEngine(len(prepared.manifest.labels)), Description("idle", "f32", 10_000.0)


model.engine.load_engine = _load  # type: ignore[assignment]

from service import ImageClassifier  # noqa: E402, TID251 - what is measured is the service itself, with that engine

__all__ = ["ImageClassifier"]
