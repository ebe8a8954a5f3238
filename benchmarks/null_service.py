"""The service with a model that does nothing, to measure everything else.

If `BENCH_GPU` names one of `gpus.GPUS`, the model takes as long for a batch as it would on that GPU.
"""

import os
import time

import numpy as np

from benchmarks.gpus import GPUS, INSTANT
from configs.settings import Settings, load_settings
from model.engine import Description, Engine, Images, Probabilities
from model.store import PreparedModel
from service import build  # noqa: TID251 - what is measured is the service itself, with that engine


class NullEngine:
    """Gives every image the same answer, at once or after the time that a GPU takes."""

    name, precision, streams = "idle", "f32", 1

    def __init__(self, labels: int) -> None:
        self._row = np.full((1, labels), 1 / labels, np.float32)
        self._gpu = GPUS[os.environ["BENCH_GPU"]] if "BENCH_GPU" in os.environ else INSTANT

    def predict(self, images: Images, together: bool = True) -> Probabilities:  # noqa: ARG002 - it has one stream
        if self._gpu is not INSTANT:
            time.sleep(self._gpu.batch_s(len(images)))
        return np.repeat(self._row, len(images), axis=0)


def load_null_engine(prepared: PreparedModel, _settings: Settings) -> tuple[Engine, Description]:
    """Load an engine that does nothing, in the place of `model.loading.load_engine`."""
    return NullEngine(len(prepared.manifest.labels)), Description("idle", "f32", 10_000.0)


ImageClassifier = build(load_settings(), load_null_engine).gateway
