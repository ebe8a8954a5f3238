"""Translates a transformers image processor to a recipe: each kind of processor reads its configuration differently.

When a model is prepared, `comparison.py` compares the recipe's pixels with those of the processor itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model.errors import UnsupportedModel
from model.recipe import Recipe, Three

# No known image classifier has a larger input; a wrong number must not use up the machine's memory.
LONGEST_INPUT_EDGE = 2048

_NO_SIZE = "it keeps the proportions of an image and does not crop, so that images have no one size"


@dataclass(frozen=True, slots=True)
class _Geometry:
    """The steps that change an image's size; the fields mean the same as in `Recipe`."""

    height: int
    width: int
    resize_shortest: int | None = None
    squeeze: tuple[int, int] | None = None
    multiple: int = 1
    keep: tuple[float, float] | None = None


class _NotSupported(Exception):
    """No recipe can describe what the processor does; the message is the reason, as part of a sentence."""


def recipe_of(processor: Any, file: str) -> Recipe:
    """Make the recipe of a transformers image processor.

    Args:
        processor: the image processor.
        file: the name of the file that configures it, for errors.

    Raises:
        UnsupportedModel: the processor does something that no recipe can describe.
    """
    name = type(processor).__name__
    try:
        geometry = _GEOMETRIES.get(_kind(name), _standard_geometry)(processor)
        mean, std = _normalisation(processor)
        recipe = Recipe(
            resize_shortest=geometry.resize_shortest,
            resample=_resample(processor),
            height=geometry.height,
            width=geometry.width,
            scale=_number(processor.rescale_factor, "rescale_factor") if processor.do_rescale else 1.0,
            mean=mean,
            std=std,
            squeeze=geometry.squeeze,
            multiple=geometry.multiple,
            keep=geometry.keep,
            is_bgr=bool(getattr(processor, "do_flip_channel_order", False)),
        )
    except _NotSupported as reason:
        raise UnsupportedModel(f"{file}: {name} is not supported: {reason}; choose another CLASSIFIER_MODEL.") from None
    return recipe


def _kind(name: str) -> str:
    return name.removesuffix("Pil").removesuffix("Fast").removesuffix("ImageProcessor")


def _standard_geometry(processor: Any) -> _Geometry:
    """Resize to `size`, or the shorter edge to a length; crop the centre where `do_center_crop` is set."""
    shortest, whole = _size(processor)
    crop = _crop(processor)
    if shortest is not None:
        if crop is None:
            raise _NotSupported(_NO_SIZE)
        return _Geometry(*crop, resize_shortest=shortest)
    assert whole is not None
    return _Geometry(*(crop or whole), squeeze=whole if crop else None)


def _convnext(processor: Any) -> _Geometry:
    """Below 384 pixels resize the shorter edge to `size / crop_pct` and crop; from 384 on resize the whole image."""
    shortest, _ = _size(processor)
    if shortest is None:
        raise _NotSupported("its size has no shortest_edge")
    crop = _crop(processor)
    if shortest >= 384:
        return _Geometry(*(crop or (shortest, shortest)), squeeze=(shortest, shortest))
    if crop:
        raise _NotSupported("it crops twice")
    return _Geometry(shortest, shortest, resize_shortest=_before_crop(shortest, processor))


def _poolformer(processor: Any) -> _Geometry:
    """Resize the shorter edge to `size / crop_pct`, or both edges where they differ; crop the centre."""
    if processor.crop_pct is None:
        return _standard_geometry(processor)
    shortest, whole = _size(processor)
    crop = _crop(processor)
    if crop is None:
        raise _NotSupported(_NO_SIZE)
    if whole is not None and whole[0] != whole[1]:
        return _Geometry(*crop, squeeze=(_before_crop(whole[0], processor), _before_crop(whole[1], processor)))
    return _Geometry(*crop, resize_shortest=_before_crop(shortest or (whole or (0, 0))[0], processor))


def _levit(processor: Any) -> _Geometry:
    """Resize the shorter edge to 256/224 of `shortest_edge`; crop the centre."""
    standard = _standard_geometry(processor)
    if standard.resize_shortest is None:
        return standard
    return _Geometry(standard.height, standard.width, resize_shortest=int((256 / 224) * standard.resize_shortest))


def _perceiver(processor: Any) -> _Geometry:
    """Crop the centre to `size / crop_size` of the shorter edge, then resize it without keeping the proportions."""
    _, whole = _size(processor)
    crop = _crop(processor)
    if whole is None:
        raise _NotSupported("its size has no height and width")
    if crop is None:
        return _Geometry(*whole)
    if whole[0] > crop[0] or whole[1] > crop[1]:
        raise _NotSupported("its crop_size is smaller than its size")
    return _Geometry(*whole, keep=(whole[0] / crop[0], whole[1] / crop[1]))


def _textnet(processor: Any) -> _Geometry:
    """Resize the shorter edge, round both edges up to a multiple of `size_divisor`, and crop the centre."""
    shortest, _ = _size(processor)
    crop = _crop(processor)
    if shortest is None or crop is None:
        raise _NotSupported(_NO_SIZE)
    return _Geometry(*crop, resize_shortest=shortest, multiple=_edge(processor.size_divisor, "size_divisor"))


def _segformer(processor: Any) -> _Geometry:
    """Resize the whole image without keeping the proportions; this processor ignores `do_center_crop`."""
    _, whole = _size(processor)
    if whole is None:
        raise _NotSupported(_NO_SIZE)
    return _Geometry(*whole)


def _always_refused(reason: str) -> Callable[[Any], _Geometry]:
    def refuse(processor: Any) -> _Geometry:  # noqa: ARG001 - the other geometries use it
        raise _NotSupported(reason)

    return refuse


_GEOMETRIES: dict[str, Callable[[Any], _Geometry]] = {
    "ConvNext": _convnext,
    "Donut": _always_refused("it resizes twice, and fills up with black what is missing to a page"),
    "Gemma3": _always_refused("it makes input for a language model"),
    "ImageGPT": _always_refused("it makes a list of colours of an image"),
    "Levit": _levit,
    "PPLCNet": _always_refused("it needs torchvision"),
    "Perceiver": _perceiver,
    "PoolFormer": _poolformer,
    "Segformer": _segformer,
    "Siglip2": _always_refused("it cuts an image of any size into patches (NaFlex)"),
    "TextNet": _textnet,
    "TimmWrapper": _always_refused("it needs timm"),
}


def _normalisation(processor: Any) -> tuple[Three, Three]:
    """Return mean and std: subtracted from a rescaled pixel, and what the difference is divided by."""
    none: tuple[Three, Three] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    # MobileViT's processor has a mean and ignores it.
    is_normalised = bool(processor.do_normalize) and _kind(type(processor).__name__) != "MobileViT"
    mean, std = (_mean(processor), _std(processor)) if is_normalised else none
    if _kind(type(processor).__name__) != "EfficientNet":
        return mean, std
    if processor.do_rescale and processor.rescale_offset:
        mean = _three([value + 1 for value in mean], "image_mean")
    if processor.include_top:
        # EfficientNet's processor divides by std a second time, without subtracting the mean again.
        std = _three([value * more for value, more in zip(std, _std(processor), strict=True)], "image_std")
    return mean, std


def _mean(processor: Any) -> Three:
    return _three(processor.image_mean, "image_mean")


def _std(processor: Any) -> Three:
    values = _three(processor.image_std, "image_std")
    if 0.0 in values:
        raise _NotSupported("image_std holds 0, by which nothing can be divided")
    return values


def _three(values: Any, name: str) -> Three:
    each = values if isinstance(values, (list, tuple)) else [values] * 3
    if len(each) == 1:
        raise _NotSupported(f"{name} has one value, and only models for colour images, of three planes, are served")
    if len(each) != 3:
        raise _NotSupported(f"{name} has {len(each)} values instead of 3")
    red, green, blue = (_number(value, name) for value in each)
    return red, green, blue


def _size(processor: Any) -> tuple[int | None, tuple[int, int] | None]:
    """Return the length of the shorter edge, or height and width, in pixels; the other of the two is None."""
    if not processor.do_resize:
        raise _NotSupported("it does not resize, so that images have no one size")
    size = _without_none(processor.size)
    if size.keys() == {"shortest_edge"}:
        return _edge(size["shortest_edge"], "size.shortest_edge"), None
    if size.keys() >= {"height", "width"} and "shortest_edge" not in size:
        return None, (_edge(size["height"], "size.height"), _edge(size["width"], "size.width"))
    raise _NotSupported(f"its size says {', '.join(sorted(size)) or 'nothing'}, not shortest_edge or height and width")


def _crop(processor: Any) -> tuple[int, int] | None:
    """Return height and width of the crop from the centre, in pixels; None: there is no crop."""
    if not getattr(processor, "do_center_crop", False):
        return None
    crop = _without_none(processor.crop_size)
    if not crop.keys() >= {"height", "width"}:
        raise _NotSupported("do_center_crop needs a crop_size of height and width")
    return _edge(crop["height"], "crop_size.height"), _edge(crop["width"], "crop_size.width")


def _without_none(size: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(size or {}).items() if value is not None}


def _before_crop(edge: int, processor: Any) -> int:
    """Return the length of an edge from which a crop of `crop_pct` leaves `edge` pixels."""
    share = _number(processor.crop_pct, "crop_pct")
    if share <= 0:
        raise _NotSupported("crop_pct is not above 0")
    return _edge(int(edge / share), "size / crop_pct")


def _edge(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LONGEST_INPUT_EDGE:
        raise _NotSupported(f"{name} is no number of pixels from 1 to {LONGEST_INPUT_EDGE}")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _NotSupported(f"{name} holds what is no number")
    return float(value)


def _resample(processor: Any) -> int:
    value = processor.resample
    if isinstance(value, bool) or not isinstance(value, int) or value not in range(6):
        raise _NotSupported("resample is none of Pillow's numbers, 0 to 5")
    return int(value)
