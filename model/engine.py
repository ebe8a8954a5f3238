"""The engines: a batch of uint8 images in, probabilities out. Both compute the same graph (see `graph.py`)."""

import logging
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from model import choices
from model.configuration import Configuration
from model.devices import chosen_engine
from model.errors import ModelError
from model.recipe import Recipe
from model.store import GRAPH, GRAPH_INT8, PreparedModel

logger = logging.getLogger("bentoml.classifier")

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Description:
    """What an engine is.

    Attributes:
        engine: its name.
        precision: what it computes in.
        images_per_s: how fast it was when it was loaded.
        resize: `exact` or `quick`: how images are to be resized for it.
        chosen: its configuration and why it is so, as `/v2/models` shows them; None: there was nothing to choose.
    """

    engine: str
    precision: str
    images_per_s: float
    resize: str = "exact"
    chosen: dict[str, Any] | None = None


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
        """uint8, n x height x width x 3 → float32, n x labels; each row sums to 1.

        Args:
            images: one batch.
            together: with all threads; else on one of the streams, beside other batches.
        """


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
    """The engine that was chosen (see `choices.py`), loaded and warmed up, and what it turned out to be.

    Raises:
        ModelError: see `check`.
    """
    check(prepared, settings)
    choice = choices.current(prepared, settings)
    engine = load(prepared, chosen_engine(settings), choice.configuration)
    images_per_s = _warm_up(engine, prepared.recipe, choice.configuration.batch_size)
    resize = choice.configuration.resize
    chosen = {**choice.described(), "precision": engine.precision}
    description = Description(engine.name, engine.precision, images_per_s, resize, chosen)
    if prepared.manifest.stand_in:
        logger.warning("%s answers: a stand-in for the model that was asked for.", prepared.manifest.name)
    logger.info(
        "Serving %s with %s in %s: %.0f images/s; %d threads, %d streams, batches of %d, %s resize (%s).",
        prepared.tag,
        description.engine,
        description.precision,
        description.images_per_s,
        choice.configuration.threads,
        engine.streams,
        choice.configuration.batch_size,
        resize,
        choice.why,
    )
    return engine, description


def load(prepared: PreparedModel, name: str, configuration: Configuration) -> Engine:
    """The engine of that name, `openvino` or `torch`, loaded so that it computes as it is told to."""
    # Imported where they are used: serving on a CPU never imports torch.
    if name == "torch":
        from model.torch_engine import TorchEngine

        return TorchEngine(prepared, configuration.precision, configuration.batch_size)
    from model.openvino_engine import OpenVinoEngine

    graph = GRAPH_INT8 if configuration.precision == "int8" else GRAPH
    return OpenVinoEngine(
        prepared.folder / graph, configuration.precision, configuration.threads, configuration.streams
    )


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
