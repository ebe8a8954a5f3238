"""How an image becomes the model's input: the checkpoint's own image processor, boiled down to plain numbers.

The processor's configuration decides every figure (see `processors.py`). What can't be said here is refused when the
model is prepared, never served wrongly.
"""

from dataclasses import asdict, dataclass
from typing import Any

Three = tuple[float, float, float]
_TUPLES = ("mean", "std", "squeeze", "keep")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Resize, crop, rescale, normalise.

    Attributes:
        resize_shortest: the length that the shorter edge is resized to, in pixels, keeping the proportions; None: the
            whole image is resized to `squeeze`, whatever its proportions.
        resample: Pillow's number of the interpolation.
        height, width: the size of the result, cropped from the centre after resizing; black where the image is smaller.
        scale: what a pixel's value, 0 to 255, is multiplied by.
        mean, std: what is then subtracted and divided by, for each of red, green, blue.
        squeeze: height and width, in pixels, that the whole image is resized to; None: `height` and `width`.
        multiple: both edges are rounded up to a multiple of so many pixels after `resize_shortest`.
        keep: before resizing, the centre is cropped to so much of the shorter edge: down and across, up to 1.
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
        """The inverse of `to_dict`."""
        tuples = {name: tuple(values[name]) for name in _TUPLES if values.get(name) is not None}
        return cls(**{**values, **tuples})

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON can hold it."""
        return asdict(self)
