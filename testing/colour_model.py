"""A model for tests: its label is the colour of an image, so a test knows each answer in advance."""

import asyncio
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.batcher import Predicted
from inference.runner import EmbeddedRunner
from model.engine import Description, Images, Probabilities
from model.recipe import Recipe
from model.store import Manifest, PreparedModel
from testing.clock import GIVE_UP_AFTER_S
from testing.photographs import encoded

LABELS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
# The confidence of the image's own colour, and of each other label.
CONFIDENCE, OTHERS = 0.93, 0.01
EDGE = 8
NAME = "test/colours"
# Images in one batch of the engine.
MAX_BATCH = 2

_RECIPE = Recipe(
    resize_shortest=None,
    resample=Image.Resampling.BILINEAR,
    height=EDGE,
    width=EDGE,
    scale=1 / 255,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
PREPARED = PreparedModel(
    "colours:1",
    Path("/nonexistent"),
    Manifest(origin="test", name=NAME, revision="1", stand_in=False, labels=[*LABELS], recipe=_RECIPE.to_dict()),
)
_DESCRIPTION = Description(engine="openvino", precision="f32", images_per_s=10.0)


def image_of(label: str, kind: str = "PNG", size: tuple[int, int] = (12, 10)) -> bytes:
    """Return an image file in the colour of a label.

    Args:
        label: one of `LABELS`.
        kind: Pillow's name of the format.
        size: width and height, pixels.
    """
    number = LABELS.index(label)
    return encoded(Image.new("RGB", size, tuple(255 * (number >> bit & 1) for bit in range(3))), kind)


class ColourEngine:
    """An engine (see `model.engine.Engine`) whose label is the colour of the pixel in the middle of an image.

    Attributes:
        batches: how many images each batch had, in the order of computing.
    """

    name, precision, streams = "openvino", "f32", 1

    def __init__(self) -> None:
        self.batches: list[int] = []
        self._may_end = math.inf
        self._changed = threading.Condition()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the engine busy within this block: the first batch ends after it, and the others wait for the first."""
        self._let_end(len(self.batches))
        try:
            yield
        finally:
            self.release()

    def release(self, more: float = math.inf) -> None:
        """Let this many more batches end before the block of `held` does; by default all."""
        self._let_end(self._may_end + more)

    def _let_end(self, number: float) -> None:
        with self._changed:
            self._may_end = number
            self._changed.notify_all()

    def predict(self, images: Images, together: bool = True) -> Probabilities:  # noqa: ARG002 - see `Engine`
        with self._changed:
            self.batches.append(len(images))
            number = len(self.batches)
            self._changed.wait_for(lambda: number <= self._may_end, GIVE_UP_AFTER_S)
        numbers = (images[:, EDGE // 2, EDGE // 2] > 127) @ np.array([1, 2, 4])
        probabilities = np.full((len(images), len(LABELS)), OTHERS, np.float32)
        probabilities[np.arange(len(images)), numbers] = CONFIDENCE
        return probabilities


class ColourRunner:
    """The embedded runner with a `ColourEngine`. A test can wait for its calls, and make them fail.

    Attributes:
        engine: the engine.
        fault: the error that every call raises; None for answers.
    """

    def __init__(self) -> None:
        self.engine = ColourEngine()
        self.description: Description | None = None
        self.fault: Exception | None = None
        self._embedded = EmbeddedRunner(self.engine, _DESCRIPTION, MAX_BATCH, lambda _: None)
        self._asked = 0
        self._changed = asyncio.Event()

    async def predict(self, images: NDArray[np.uint8], user: str) -> Predicted:
        self._asked += 1
        self._changed.set()
        if self.fault is not None:
            raise self.fault
        return await self._embedded.predict(images, user)

    async def describe(self) -> Description:
        return await self._embedded.describe()

    async def warm_up(self, blank: NDArray[np.uint8]) -> None:
        await self._embedded.warm_up(blank)

    async def asked(self, times: int) -> None:
        """Return once `predict` has been called so many times since the last `forget`."""
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            while self._asked < times:
                self._changed.clear()
                await self._changed.wait()

    def forget(self) -> None:
        """Set the counts of calls and batches back to zero."""
        self._asked = 0
        self.engine.batches.clear()
