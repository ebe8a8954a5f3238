"""The engines: a batch of uint8 images in, probabilities out. Both compute the same graph (see `graph.py`)."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from model.errors import ModelError
from model.recipe import Recipe
from model.store import CHECKPOINT, GRAPH, PreparedModel

logger = logging.getLogger("bentoml.classifier")

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


# The greatest batch that is made of what callers sent: more images do not make an engine faster.
MAX_BATCH_SIZE = 16


@dataclass(frozen=True, slots=True)
class Description:
    """What an engine is: its name, what it computes in, and how fast it was when it was loaded."""

    engine: str
    precision: str
    images_per_s: float


class Engine(Protocol):
    """What computes.

    Attributes:
        name: "openvino" or "torch".
        precision: "f32" or "bf16": what the weights and the sums are kept in.
        streams: how many batches it computes at a time.
    """

    name: str
    precision: str
    streams: int

    def predict(self, images: Images) -> Probabilities:
        """uint8, n x height x width x 3 → float32, n x labels; each row sums to 1."""


class OpenVinoEngine:
    """The graph compiled by OpenVINO for this processor."""

    name = "openvino"

    def __init__(self, graph: Path, precision: str) -> None:
        """
        Args:
            graph: the file of the OpenVINO graph.
            precision: `auto`, `f32` or `bf16`.

        Raises:
            ModelError: the precision can't be had on this processor, or of this model.
        """
        import openvino
        from openvino import properties

        core = openvino.Core()
        native = "BF16" in core.get_property("CPU", properties.device.capabilities)
        self.precision = _choose(precision, native)
        element = openvino.Type.bf16 if self.precision == "bf16" else openvino.Type.f32
        self._compiled = core.compile_model(
            graph,
            "CPU",
            {
                properties.hint.inference_precision: element,
                properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
                # Pinned threads of several processes would share the first core.
                properties.hint.enable_cpu_pinning: False,
            },
        )
        self.streams = int(self._compiled.get_property(properties.num_streams))
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.streams):
            self._free.put(self._compiled.create_infer_request())

    def predict(self, images: Images) -> Probabilities:
        # BentoML's development server, which makes no batches, calls from more threads than there are streams.
        request = self._free.get()
        try:
            outputs = request.infer({0: images}, share_inputs=True)
            return np.array(outputs[0], dtype=np.float32)
        finally:
            self._free.put(request)


class TorchEngine:
    """The graph in torch: the reference on a CPU, the engine on CUDA."""

    name = "torch"
    streams = 1

    def __init__(self, prepared: PreparedModel, precision: str) -> None:
        """
        Args:
            prepared: the model.
            precision: `auto`, `f32` or `bf16`.

        Raises:
            ModelError: torch is not installed, or the precision can't be had.
        """
        try:
            import torch

            from model.reference import load_classifier
        except ImportError:
            raise ModelError("CLASSIFIER_ENGINE=torch needs torch and transformers; run 'make install'.") from None
        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # On a CPU torch is the reference, so that nothing but float32 is chosen unasked.
        native = self._device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.precision = _choose(precision, native)
        element = torch.bfloat16 if self.precision == "bf16" else torch.float32
        folder = prepared.folder / CHECKPOINT
        classifier = load_classifier(folder, prepared.recipe, prepared.manifest.stand_in)
        self._classifier = classifier.to(self._device, element)

    def predict(self, images: Images) -> Probabilities:
        torch = self._torch
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
            probabilities: Probabilities = self._classifier(pixels).float().cpu().numpy()
        return probabilities


def chosen_engine(settings: Settings) -> str:
    """`openvino` or `torch`: what the settings ask for, or the machine suggests."""
    if settings.engine != "auto":
        return settings.engine
    return "torch" if _has_cuda() else "openvino"


def load_engine(prepared: PreparedModel, settings: Settings) -> tuple[Engine, Description]:
    """The engine that the settings choose, loaded and warmed up, and what it turned out to be.

    Raises:
        ModelError: the settings ask for what this machine or this model does not have.
    """
    if chosen_engine(settings) == "torch":
        engine: Engine = TorchEngine(prepared, settings.precision)
    else:
        engine = OpenVinoEngine(prepared.folder / GRAPH, settings.precision)
    description = Description(engine.name, engine.precision, _warm_up(engine, prepared.recipe))
    if prepared.manifest.stand_in:
        logger.warning("%s answers: a stand-in for the model that was asked for.", prepared.manifest.name)
    logger.info(
        "Serving %s with %s in %s: %.0f images/s.",
        prepared.tag,
        description.engine,
        description.precision,
        description.images_per_s,
    )
    return engine, description


def _warm_up(engine: Engine, recipe: Recipe) -> float:
    """Have every size of batch computed once, since the first of each is slow; images a second at the greatest."""
    for batch in (1, 2, 4, 8, MAX_BATCH_SIZE, MAX_BATCH_SIZE):
        blank = np.zeros((batch, recipe.height, recipe.width, 3), np.uint8)
        started = time.perf_counter()
        engine.predict(blank)
    return MAX_BATCH_SIZE / (time.perf_counter() - started)


def _choose(precision: str, bf16_is_native: bool) -> str:
    if precision == "auto":
        return "bf16" if bf16_is_native else "f32"
    if precision == "int8":
        raise ModelError("CLASSIFIER_PRECISION=int8 needs a quantised model, and this one is not; use auto.")
    return precision


def _has_cuda() -> bool:
    """Whether there is an NVIDIA GPU and a torch to use it; told without importing torch where there is none."""
    from importlib.util import find_spec

    if not Path("/dev/nvidiactl").exists() or find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())
