"""The engine and the decoder of this project, for servers whose environment has neither BentoML nor the settings."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pybase64
from numpy.typing import NDArray
from openvino import properties

from model.image import decode
from model.recipe import Recipe

MAX_PIXELS = 50_000_000


class Model:
    """The prepared model that the environment variable `BENCH_MODEL` names by its folder, in `BENCH_PRECISION`."""

    def __init__(self) -> None:
        folder = Path(os.environ["BENCH_MODEL"])
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        self.recipe, self.labels = Recipe.from_dict(manifest["recipe"]), manifest["labels"]
        self.exact = os.environ["BENCH_PRECISION"] == "f32"
        element = {"bf16": openvino.Type.bf16, "f32": openvino.Type.f32}[os.environ["BENCH_PRECISION"]]
        compiled = openvino.Core().compile_model(
            folder / "openvino.xml",
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

    def decode(self, text: str) -> NDArray[np.uint8]:
        """base64 → uint8, height x width x 3."""
        return decode(pybase64.b64decode(text, validate=True), self.recipe, MAX_PIXELS, self.exact).pixels

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8, n x height x width x 3 → float32, n x labels."""
        return np.array(self._request.infer({0: images}, share_inputs=True)[0], dtype=np.float32)

    def top(self, probabilities: NDArray[np.float32]) -> list[dict[str, Any]]:
        """The five most probable labels."""
        best = np.argsort(-probabilities, kind="stable")[:5]
        return [{"label": self.labels[number], "confidence": round(float(probabilities[number]), 4)} for number in best]
