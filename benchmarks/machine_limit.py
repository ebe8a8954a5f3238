"""Measures the machine without any server: from base64 to the five best labels, on all cores."""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import properties

from configs.settings import Settings
from inference.encoded_image import image_bytes
from model import choices
from model.images.decode import decode
from model.openvino_engine import OpenVinoEngine
from model.store import GRAPH, open_folder
from testing.photographs import as_base64

MAX_PIXELS = 50_000_000
BATCH = 8


class MachineLimit:
    """The prepared model, its decoder and the engine, without HTTP, keys and usage log.

    Args:
        folder: of the prepared model.
        precision: "auto", "f32" or "bf16".
        cores: the number of threads, and of streams of the engine.
    """

    def __init__(self, folder: Path, precision: str, cores: int) -> None:
        self.prepared = open_folder(f"{folder.parent.name}:{folder.name}", folder)
        self.cores = cores
        chosen = choices.current(self.prepared, Settings.model_validate({"precision": precision})).configuration
        self.exact = chosen.resize == "exact"
        self.alone = OpenVinoEngine(folder / GRAPH, chosen.precision)
        element = {"bf16": openvino.Type.bf16, "f32": openvino.Type.f32}[self.alone.precision]
        # One stream for each core, so that no core waits for another: this was fastest here.
        compiled = openvino.Core().compile_model(
            folder / GRAPH,
            "CPU",
            {
                properties.hint.inference_precision: element,
                properties.num_streams: cores,
                properties.hint.enable_cpu_pinning: False,
            },
        )
        self._requests = [compiled.create_infer_request() for _ in range(cores)]

    def images_per_s(self, files: Sequence[bytes], seconds: float) -> float:
        """Return images per second from base64 to the five best labels, on all cores."""
        texts = [as_base64(data) for data in files]
        ends = time.perf_counter() + seconds

        def per_s(core: int) -> float:
            started, done = time.perf_counter(), 0
            while time.perf_counter() < ends:
                batch = np.stack([self._decode(texts[(done + number) % len(texts)]) for number in range(BATCH)])
                rows = self._requests[core].infer({0: batch}, share_inputs=True)[0]
                for row in rows:
                    _ = [self.prepared.manifest.labels[number] for number in np.argsort(-row, kind="stable")[:5]]
                done += BATCH
            # Each core has a rate of its own, since the last batches do not end at the same time.
            return done / (time.perf_counter() - started)

        with ThreadPoolExecutor(self.cores) as pool:
            return sum(pool.map(per_s, range(self.cores)))

    def one_ms(self, files: Sequence[bytes], times: int = 50) -> float:
        """Return the median time to decode and compute one image, ms."""
        texts, took = [as_base64(data) for data in files], []
        for number in range(times):
            started = time.perf_counter()
            self.alone.predict(self._decode(texts[number % len(texts)])[np.newaxis])
            took.append((time.perf_counter() - started) * 1000)
        return statistics.median(took)

    def engine_per_s(self, seconds: float = 0.6) -> float:
        """Return images per second of the engine alone, which shows how fast the machine is now."""
        blank = np.zeros((BATCH, self.prepared.recipe.height, self.prepared.recipe.width, 3), np.uint8)
        started, done = time.perf_counter(), 0
        while time.perf_counter() < started + seconds:
            self.alone.predict(blank)
            done += BATCH
        return done / (time.perf_counter() - started)

    def _decode(self, text: str) -> NDArray[np.uint8]:
        return decode(image_bytes(text), self.prepared.recipe, MAX_PIXELS, self.exact).pixels
