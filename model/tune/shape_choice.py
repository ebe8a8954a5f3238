"""Threads, streams and the size of batches with which a model is the fastest on a processor, by measurement."""

from dataclasses import replace

from model.configuration import CPU_BATCH, MOST_STREAMS, Configuration
from model.engine import Engine
from model.tune.speed import Load, least_s
from model.tune.trial import Trial

# The usual first: of those that are as fast it is taken. More images in a batch let everyone in it wait.
BATCHES = (CPU_BATCH, CPU_BATCH // 2, 2 * CPU_BATCH, 4 * CPU_BATCH)
# How long one batch may take while threads and streams are compared.
BATCH_S = 0.1


def choose_shape(trial: Trial, chosen: Configuration) -> Configuration:
    """The configuration with the threads, streams and size of batches to take."""
    per_s = trial.rows[replace(chosen, resize="exact")].images_per_s
    engines = {chosen: trial.engine(chosen.precision)}
    # Each takes memory for the whole model.
    trial.engines.clear()
    size = max(1, min(chosen.batch_size, int(BATCH_S * per_s)))
    left_s = trial.timer.left_s / 2 - least_s(size * chosen.streams, per_s)
    for threads, streams in _shapes(chosen.threads, trial.settings.threads is None):
        left_s -= trial.loading_s + least_s(size * streams, per_s * threads / chosen.threads)
        if left_s > 0:
            shape = replace(chosen, threads=threads, streams=streams)
            engines[shape] = trial.loaded(shape)
    if len(engines) > 1:
        trial.say("Comparing threads and streams ...")
        loads = {shape: Load(engine, trial.images(size)) for shape, engine in engines.items()}
        chosen = trial.simplest_of_fastest(loads, trial.timer.left_s / 2)
    return chosen if trial.settings.max_batch_size else _sized(trial, chosen, engines[chosen], per_s)


def _sized(trial: Trial, chosen: Configuration, engine: Engine, per_s: float) -> Configuration:
    loads, left_s = {}, trial.timer.left_s
    for size in BATCHES:
        left_s -= least_s(size * chosen.streams, per_s)
        if left_s > 0:
            loads[replace(chosen, batch_size=size)] = Load(engine, trial.images(size))
    if len(loads) < 2:
        return chosen
    trial.say("Comparing sizes of batches ...")
    return trial.simplest_of_fastest(loads, trial.timer.left_s)


def _shapes(threads: int, may_be_fewer: bool) -> list[tuple[int, int]]:
    """Threads and streams that come into question beside the usual."""
    shapes = [(threads, 1)]
    if threads > MOST_STREAMS:
        shapes.append((threads, threads // 2))
    if threads > 1 and may_be_fewer:
        # Where two threads share a core.
        shapes.append((threads // 2, min(threads // 2, MOST_STREAMS)))
    return shapes
