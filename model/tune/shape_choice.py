"""Measures which number of threads and streams, and which size of batches, is the fastest on a CPU."""

from dataclasses import replace

from model.configuration import CPU_BATCH, MOST_STREAMS, Configuration
from model.engine import Engine
from model.tune.speed import Load, min_seconds
from model.tune.trial import Trial

# The smallest is first, so that it is chosen among equally fast sizes: in a larger batch every image waits longer, and
# each stream keeps the memory for it.
BATCHES = (CPU_BATCH, 2 * CPU_BATCH, 4 * CPU_BATCH, 8 * CPU_BATCH)
# The longest time for one batch while threads and streams are compared, in seconds.
BATCH_S = 0.1


def choose_shape(trial: Trial, chosen: Configuration) -> Configuration:
    """Return the configuration with the best threads, streams and size of batches."""
    per_s = trial.rows[replace(chosen, resize="exact")].images_per_s
    engines = {chosen: trial.engine(chosen.precision)}
    # Engines that are not needed are freed: each has the whole model in memory.
    trial.engines.clear()
    size = max(1, min(chosen.batch_size, int(BATCH_S * per_s)))
    left_s = trial.timer.left_s / 2 - min_seconds(size * chosen.streams, per_s)
    for threads, streams in _shapes(chosen.threads, trial.settings.threads is None):
        left_s -= trial.loading_s + min_seconds(size * streams, per_s * threads / chosen.threads)
        if left_s > 0:
            shape = replace(chosen, threads=threads, streams=streams)
            engines[shape] = trial.load_engine(shape)
    if len(engines) > 1:
        trial.say("Comparing threads and streams ...")
        loads = {shape: Load(engine, trial.images(size)) for shape, engine in engines.items()}
        chosen = trial.simplest_of_fastest(loads, trial.timer.left_s / 2)
    return chosen if trial.settings.max_batch_size else _choose_batch_size(trial, chosen, engines[chosen], per_s)


def _choose_batch_size(trial: Trial, chosen: Configuration, engine: Engine, per_s: float) -> Configuration:
    loads, left_s = {}, trial.timer.left_s
    for size in BATCHES:
        left_s -= min_seconds(size * chosen.streams, per_s)
        if left_s > 0:
            loads[replace(chosen, batch_size=size)] = Load(engine, trial.images(size))
    if len(loads) < 2:
        return chosen
    trial.say("Comparing sizes of batches ...")
    return trial.simplest_of_fastest(loads, trial.timer.left_s)


def _shapes(threads: int, may_be_fewer: bool) -> list[tuple[int, int]]:
    """Return the threads and streams to compare with the default."""
    shapes = [(threads, 1)]
    if threads > MOST_STREAMS:
        shapes.append((threads, threads // 2))
    if threads > 1 and may_be_fewer:
        # This may be the fastest where two threads share a core.
        shapes.append((threads // 2, min(threads // 2, MOST_STREAMS)))
    return shapes
