"""Loads the engine that the settings ask for, and warms it up. Both engines compute the same function."""

import logging
import time

import numpy as np

from configs.settings import Settings
from model import choices
from model.configuration import Configuration
from model.devices import chosen_engine
from model.engine import Description, Engine
from model.engine_check import check
from model.openvino_engine import OpenVinoEngine
from model.recipe import Recipe
from model.store import GRAPH, GRAPH_INT8, PreparedModel
from model.torch_engine import TorchEngine

logger = logging.getLogger("bentoml.classifier")


def load_engine(prepared: PreparedModel, settings: Settings) -> tuple[Engine, Description]:
    """Load and warm up the engine with the chosen configuration (see `choices.py`).

    Returns:
        the engine, and a description with its measured speed.

    Raises:
        ModelError: see `engine_check.check`.
    """
    check(prepared, settings)
    choice = choices.current(prepared, settings)
    engine = load(prepared, chosen_engine(settings), choice.configuration)
    images_per_s = _warm_up(engine, prepared.recipe, choice.configuration.batch_size)
    resize = choice.configuration.resize
    chosen = {**choice.to_dict(), "precision": engine.precision}
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
    """Load the engine of that name, `openvino` or `torch`, with that configuration."""
    if name == "torch":
        return TorchEngine(prepared, configuration.precision, configuration.batch_size)
    graph = GRAPH_INT8 if configuration.precision == "int8" else GRAPH
    return OpenVinoEngine(
        prepared.folder / graph, configuration.precision, configuration.threads, configuration.streams
    )


def _warm_up(engine: Engine, recipe: Recipe, most: int) -> float:
    """Run a batch on each stream and batches of several sizes, because the first batch of a size is slow.

    Returns:
        images per second with batches of `most` images.
    """
    for _ in range(engine.streams):
        engine.predict(np.zeros((1, recipe.height, recipe.width, 3), np.uint8), together=False)
    # The largest size runs twice: the second run is the one that is timed.
    sizes = [*(2**power for power in range((most - 1).bit_length())), most, most]
    for size in sizes:
        blank = np.zeros((size, recipe.height, recipe.width, 3), np.uint8)
        started = time.perf_counter()
        engine.predict(blank)
    return most / (time.perf_counter() - started)
