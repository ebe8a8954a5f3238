"""This project's engine and decoder, for servers whose environment has neither BentoML nor this project's settings."""

import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pybase64
from numpy.typing import NDArray
from openvino import properties

from model.images.decode import Decoded, decode
from model.recipe import Recipe

MAX_PIXELS = 50_000_000
# Used instead of a precision for a model that does nothing.
NULL = "null"


class Served(ABC):
    """The prepared model in the folder that the environment variable `BENCH_MODEL` names."""

    def __init__(self) -> None:
        self.folder = Path(os.environ["BENCH_MODEL"])
        manifest = json.loads((self.folder / "manifest.json").read_text("utf-8"))
        self.recipe, self.labels = Recipe.from_dict(manifest["recipe"]), manifest["labels"]
        self.name, self.revision = manifest["name"], manifest["revision"]
        self.exact = os.environ["BENCH_PRECISION"] in ("f32", NULL)

    @abstractmethod
    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute probabilities: uint8, (n, height, width, 3) → float32, (n, labels)."""

    def decode(self, text: str) -> NDArray[np.uint8]:
        """Decode an image in base64 to pixels: uint8, (height, width, 3)."""
        return self.decode_file(pybase64.b64decode(text, validate=True)).pixels

    def decode_file(self, data: bytes) -> Decoded:
        """Decode an image file."""
        return decode(data, self.recipe, MAX_PIXELS, self.exact)

    def top(self, probabilities: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Return the five most probable labels and their confidences, given the probability of each label."""
        best = np.argsort(-probabilities, kind="stable")[:5]
        return [{"label": self.labels[number], "confidence": round(float(probabilities[number]), 4)} for number in best]


class Model(Served):
    """The real model, in the precision that `BENCH_PRECISION` names."""

    def __init__(self) -> None:
        super().__init__()
        element = {"bf16": openvino.Type.bf16, "f32": openvino.Type.f32}[os.environ["BENCH_PRECISION"]]
        compiled = openvino.Core().compile_model(
            self.folder / "openvino.xml",
            "CPU",
            {
                properties.hint.inference_precision: element,
                properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
                properties.hint.enable_cpu_pinning: False,
            },
        )
        self._request = compiled.create_infer_request()
        for batch in (1, 2, 4, 8, 16):
            self.predict(np.zeros((batch, self.recipe.height, self.recipe.width, 3), np.uint8))

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Served`."""
        return np.array(self._request.infer({0: images}, share_inputs=True)[0], dtype=np.float32)


class NullModel(Served):
    """Gives every image the same answer at once, as the engine of `benchmarks/null_service.py` does."""

    def __init__(self) -> None:
        super().__init__()
        self._row = np.full((1, len(self.labels)), 1 / len(self.labels), np.float32)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Served`."""
        return np.repeat(self._row, len(images), axis=0)


def load() -> Served:
    """Load the model in the precision that `BENCH_PRECISION` names, or the null model."""
    return NullModel() if os.environ["BENCH_PRECISION"] == NULL else Model()
