"""Defines what an engine is: a batch of uint8 images in, probabilities out. `loading.py` makes one."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Description:
    """Describes a loaded engine.

    Attributes:
        engine: the engine's name.
        precision: what the engine computes in.
        images_per_s: images per second, measured for the choice or when the engine was loaded.
        resize: `exact` or `quick`: how images must be resized for this engine.
        chosen: the configuration and the reason for it, as `/v2/models` shows them; None: there was nothing to choose.
    """

    engine: str
    precision: str
    images_per_s: float
    resize: str = "exact"
    chosen: dict[str, Any] | None = None


def usual_sizes(most: int) -> list[int]:
    """Return the sizes of batches that are computed in advance: the powers of two below `most`, and `most`."""
    return [*(2**power for power in range((most - 1).bit_length())), most]


def places(streams: int) -> int:
    """Return how many batches an engine takes at the same time: one for each stream, and half as many that wait."""
    return streams + math.ceil(streams / 2)


class Engine(Protocol):
    """Computes probabilities. Every engine computes the same function (`checkpoint/classifier.py`).

    Attributes:
        name: `openvino` or `torch`.
        precision: `f32`, `bf16` or `int8`: the type of the weights and of the arithmetic.
        streams: the largest number of batches that the engine computes at the same time.
    """

    name: str
    precision: str
    streams: int

    def predict(self, images: Images, together: bool = True) -> Probabilities:
        """Compute the probabilities of one batch. May be called from as many threads as the engine has `places`.

        Args:
            images: uint8, n x height x width x 3, RGB.
            together: True: use all threads for this batch. False: use one stream, while other streams may compute
                other batches.

        Returns:
            float32, n x labels. Each row sums to 1 where the model ends in a softmax.
        """
