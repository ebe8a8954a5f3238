"""Loads the engine that the settings ask for, and warms it up. Both engines compute the same function."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from configs.settings import Settings
from model import choices
from model.configuration import Choice, Configuration
from model.devices import chosen_engine
from model.engine import Description, Engine, usual_sizes
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
    images_per_s = _warm_up(engine, prepared.recipe, choice)
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


def _warm_up(engine: Engine, recipe: Recipe, choice: Choice) -> float:
    """Run a batch on each stream, because the first one is slow, and tell the speed.

    On a CPU only single images are run. The first batch of each other size takes about 50 ms longer than the next: they
    are run once the server is ready, while no caller waits (`EmbeddedRunner.warm_up`).

    Returns:
        images per second.
    """
    for _ in range(engine.streams):
        _time(engine, recipe, 1, together=False)
    _time(engine, recipe, 1)
    if engine.name == OpenVinoEngine.name:
        now_per_s = _images_per_s(engine, recipe, 1)
        # The machine may have been busy when it was measured.
        return max(choice.images_per_s or 0.0, now_per_s)
    most = choice.configuration.batch_size
    for size in usual_sizes(most)[1:]:
        _images_per_s(engine, recipe, size)
    return _images_per_s(engine, recipe, most)


def _images_per_s(engine: Engine, recipe: Recipe, size: int) -> float:
    """Compute a batch of that size on each stream, at the same time; return the images per second."""
    streams = engine.streams
    with ThreadPoolExecutor(streams) as threads:
        started = time.perf_counter()
        computed = [threads.submit(_time, engine, recipe, size, streams == 1) for _ in range(streams)]
        for one in computed:
            one.result()
    return streams * size / (time.perf_counter() - started)


def _time(engine: Engine, recipe: Recipe, size: int, together: bool = True) -> float:
    """Compute a batch of empty images; return the seconds that it took."""
    blank = np.zeros((size, recipe.height, recipe.width, 3), np.uint8)
    started = time.perf_counter()
    engine.predict(blank, together)
    return time.perf_counter() - started
