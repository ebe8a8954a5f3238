"""The engines: a batch of uint8 images in, probabilities out. Both compute the same graph (see `graph.py`)."""

import logging
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from model.errors import ModelError
from model.recipe import Recipe
from model.store import GRAPH, GRAPH_INT8, PreparedModel

logger = logging.getLogger("bentoml.classifier")

# On a CPU more images make a batch no faster, and those in it wait longer; a GPU wants many.
CPU_BATCH, GPU_BATCH = 8, 64

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


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
        streams: how many batches it computes beside each other, at most.
    """

    name: str
    precision: str
    streams: int

    def predict(self, images: Images, together: bool = True) -> Probabilities:
        """uint8, n x height x width x 3 → float32, n x labels; each row sums to 1 where the function is softmax.

        Args:
            images: one batch.
            together: with all threads; else on one of the streams, beside other batches.
        """


def precision_of(precision: str, bf16_is_native: bool) -> str:
    """The precision that is meant: what was asked for, or what the processor suggests."""
    if precision == "auto":
        return "bf16" if bf16_is_native else "f32"
    return precision


def chosen_engine(settings: Settings) -> str:
    """`openvino` or `torch`: what the settings ask for, or the machine suggests."""
    if settings.engine != "auto":
        return settings.engine
    return "torch" if _has_cuda() else "openvino"


def batch_size(settings: Settings) -> int:
    """The most images in a batch: what the settings ask for, or what suits the machine."""
    on_gpu = chosen_engine(settings) == "torch" and _has_cuda()
    return settings.max_batch_size or (GPU_BATCH if on_gpu else CPU_BATCH)


def check(prepared: PreparedModel, settings: Settings) -> None:
    """Return where the engine that the settings choose can be loaded.

    Raises:
        ModelError: the settings ask for what this machine or this model does not have.
    """
    if chosen_engine(settings) == "torch":
        if settings.precision == "int8":
            raise ModelError("CLASSIFIER_PRECISION=int8 is OpenVINO's; set CLASSIFIER_ENGINE=openvino, or use auto.")
        if find_spec("torch") is None or find_spec("transformers") is None:
            raise ModelError("CLASSIFIER_ENGINE=torch needs torch and transformers; run 'make install'.")
    elif settings.precision == "int8" and not (prepared.folder / GRAPH_INT8).exists():
        raise ModelError(
            "CLASSIFIER_PRECISION=int8 needs a quantised model; make it with 'make quantize IMAGES=folder', "
            "or use CLASSIFIER_PRECISION=auto."
        )


def load_engine(prepared: PreparedModel, settings: Settings) -> tuple[Engine, Description]:
    """The engine that the settings choose, loaded and warmed up, and what it turned out to be.

    Raises:
        ModelError: see `check`.
    """
    check(prepared, settings)
    # Imported where they are used: serving on a CPU never imports torch.
    if chosen_engine(settings) == "torch":
        from model.torch_engine import TorchEngine

        engine: Engine = TorchEngine(prepared, settings.precision, batch_size(settings))
    else:
        from model.openvino_engine import OpenVinoEngine

        graph = GRAPH_INT8 if settings.precision == "int8" else GRAPH
        engine = OpenVinoEngine(prepared.folder / graph, settings.precision, settings.threads)
    description = Description(engine.name, engine.precision, _warm_up(engine, prepared.recipe, batch_size(settings)))
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


def _warm_up(engine: Engine, recipe: Recipe, most: int) -> float:
    """Have each stream, and some sizes of batch, computed once: the first is slow; images a second at the greatest."""
    for _ in range(engine.streams):
        engine.predict(np.zeros((1, recipe.height, recipe.width, 3), np.uint8), together=False)
    sizes = [*(2**power for power in range((most - 1).bit_length())), most, most]
    for batch in sizes:
        blank = np.zeros((batch, recipe.height, recipe.width, 3), np.uint8)
        started = time.perf_counter()
        engine.predict(blank)
    return most / (time.perf_counter() - started)


def _has_cuda() -> bool:
    """Whether there is an NVIDIA GPU and a torch to use it; told without importing torch where there is none."""
    if not Path("/dev/nvidiactl").exists() or find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())
