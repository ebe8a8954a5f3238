"""How an image becomes the model's input: the checkpoint's own image processor, boiled down to plain numbers.

The processor's configuration decides every figure. What is not translated here is refused when the model is prepared
(`prepare.py` compares the two on real pixels), never served wrongly.
"""

from dataclasses import asdict, dataclass
from typing import Any

from model.errors import UnsupportedModel


@dataclass(frozen=True, slots=True)
class Recipe:
    """Resize, crop, rescale, normalise.

    Attributes:
        resize_shortest: the length that the shorter edge is resized to, in pixels, keeping the proportions; None: the
            whole image is resized to `height` x `width`, whatever its proportions.
        resample: Pillow's number of the interpolation.
        height, width: the size of the result; cropped from the centre after `resize_shortest`.
        scale: what a pixel's value, 0 to 255, is multiplied by.
        mean, std: what is then subtracted and divided by, for each of red, green, blue.
    """

    resize_shortest: int | None
    resample: int
    height: int
    width: int
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """The inverse of `to_dict`."""
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON can hold it."""
        return asdict(self)


def from_processor(processor: Any) -> Recipe:
    """The recipe of a transformers image processor.

    Raises:
        UnsupportedModel: it does something that a recipe can't say.
    """
    resize_shortest, height, width = _geometry(processor)
    normalise = bool(processor.do_normalize)
    return Recipe(
        resize_shortest=resize_shortest,
        resample=int(processor.resample),
        height=height,
        width=width,
        scale=float(processor.rescale_factor) if processor.do_rescale else 1.0,
        mean=_three(processor.image_mean) if normalise else (0.0, 0.0, 0.0),
        std=_three(processor.image_std) if normalise else (1.0, 1.0, 1.0),
    )


def _geometry(processor: Any) -> tuple[int | None, int, int]:
    """The shorter edge after resizing (or None), and the height and width of the result."""
    size, crop = _sizes(processor.size), _sizes(getattr(processor, "crop_size", None))
    if not processor.do_resize or size is None:
        raise _unsupported(processor, "it does not resize")
    cropped = bool(getattr(processor, "do_center_crop", False)) and crop is not None
    shortest = size.get("shortest_edge")
    crop_pct = getattr(processor, "crop_pct", None)
    if shortest and crop_pct and "ConvNext" in type(processor).__name__:
        # ConvNext's processor crops below 384 pixels, and squeezes the whole image into a square from there on.
        return (int(shortest / crop_pct) if shortest < 384 else None), shortest, shortest
    if shortest and not size.get("longest_edge") and cropped and crop:
        return shortest, crop["height"], crop["width"]
    if size.get("height") and size.get("width") and not cropped:
        return None, size["height"], size["width"]
    raise _unsupported(processor, "its resizing and cropping are not of a known kind")


def _sizes(size: Any) -> dict[str, int] | None:
    if size is None:
        return None
    return {key: value for key, value in dict(size).items() if value is not None}


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = values if isinstance(values, (list, tuple)) else [values] * 3
    return float(red), float(green), float(blue)


def _unsupported(processor: Any, why: str) -> UnsupportedModel:
    return UnsupportedModel(f"The image processor {type(processor).__name__} can't be reproduced: {why}.")
