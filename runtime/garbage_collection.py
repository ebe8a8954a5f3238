"""Keeps garbage collection rare: what a program imports and loads makes many objects, and nearly all of them stay."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New objects less freed ones, at which the youngest are collected: while a program starts, and later. A worker makes
# 250,000 until it is ready.
STARTING, RUNNING = 500_000, 50_000


def collect_rarely() -> None:
    """Collect rarely until `freeze_gc`, and not when the process ends. Call this before anything large is imported.

    Searching what stays takes a tenth of a start, and a fifth of a short command's time when that ends.
    """
    gc.set_threshold(STARTING)
    atexit.register(gc.freeze)


def freeze_gc() -> None:
    """Exclude all objects that exist now from garbage collection, and collect the others less often than Python does.

    A full collection over everything that a service loads takes a tenth of a second and stops every request.
    """
    gc.freeze()
    gc.set_threshold(RUNNING)


@contextmanager
def importing_late() -> Iterator[None]:
    """Exclude the objects that a block makes from garbage collection, as `freeze_gc` does; for a service that runs.

    Otherwise each collection during a large import searches all of it so far, and stops every request meanwhile.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
