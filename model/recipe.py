"""Defines the recipe: how an image becomes the model's input, as numbers.

The configuration of the checkpoint's own image processor gives every number (see `prepare/processors.py`). A processor
that no recipe can describe is refused when the model is prepared.
"""

from dataclasses import asdict, dataclass
from typing import Any

Three = tuple[float, float, float]
_TUPLES = ("mean", "std", "squeeze", "keep")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Describes the steps: crop, resize, crop, rescale, normalise.

    Attributes:
        resize_shortest: the shorter edge is resized to this number of pixels, keeping the proportions; None: the whole
            image is resized to `squeeze`, without keeping the proportions.
        resample: the interpolation, as Pillow numbers it (`Image.Resampling`).
        height, width: size of the result in pixels, cropped from the centre after resizing; where the resized image is
            smaller, the rest is black.
        scale: factor for a pixel's value, 0 to 255.
        mean, std: subtracted from the scaled value, which is then divided by `std`; one of each for red, green, blue.
        squeeze: height and width in pixels to which the whole image is resized; None: `height` and `width`.
        multiple: after `resize_shortest`, both edges are rounded up to a multiple of this number of pixels.
        keep: before resizing, the image is cropped from its centre to this height and width, as shares of its shorter
            edge, up to 1; None: no crop.
        is_bgr: whether the model takes the planes in the order blue, green, red.
    """

    resize_shortest: int | None
    resample: int
    height: int
    width: int
    scale: float
    mean: Three
    std: Three
    squeeze: tuple[int, int] | None = None
    multiple: int = 1
    keep: tuple[float, float] | None = None
    is_bgr: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """Make a recipe from what `to_dict` returned."""
        tuples = {name: tuple(values[name]) for name in _TUPLES if values.get(name) is not None}
        return cls(**{**values, **tuples})

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as values that JSON can represent."""
        return asdict(self)
