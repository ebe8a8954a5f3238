"""From a transformers image processor to a recipe: what each kind does with its configuration.

What is translated here is compared with the processor itself, on real pixels, when a model is prepared.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model.errors import UnsupportedModel
from model.recipe import Recipe, Three

# No image classifier takes more; a wrong figure must not take the machine's memory.
LONGEST_INPUT_EDGE = 2048

_NO_SIZE = "it keeps the proportions of an image and does not crop, so that images have no one size"


@dataclass(frozen=True, slots=True)
class _Geometry:
    """What becomes of an image's size; the fields are the recipe's."""

    height: int
    width: int
    resize_shortest: int | None = None
    squeeze: tuple[int, int] | None = None
    multiple: int = 1
    keep: tuple[float, float] | None = None


class _Refused(Exception):
    """The processor does what no recipe says; the message is half a sentence."""


def recipe_of(processor: Any, file: str) -> Recipe:
    """The recipe of a transformers image processor.

    Args:
        processor: the image processor.
        file: the name of the file that configures it, for errors.

    Raises:
        UnsupportedModel: it does something that a recipe can't say.
    """
    name = type(processor).__name__
    try:
        geometry = _GEOMETRIES.get(_kind(name), _usual)(processor)
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
    except _Refused as refused:
        raise UnsupportedModel(
            f"{file}: {name} is not supported: {refused}; choose another CLASSIFIER_MODEL."
        ) from None
    return recipe


def _kind(name: str) -> str:
    return name.removesuffix("Pil").removesuffix("Fast").removesuffix("ImageProcessor")


def _usual(processor: Any) -> _Geometry:
    """Resize to a size, or the shorter edge to a length; crop the centre where `do_center_crop` says so."""
    shortest, whole = _size(processor)
    crop = _crop(processor)
    if shortest is not None:
        if crop is None:
            raise _Refused(_NO_SIZE)
        return _Geometry(*crop, resize_shortest=shortest)
    assert whole is not None
    return _Geometry(*(crop or whole), squeeze=whole if crop else None)


def _convnext(processor: Any) -> _Geometry:
    """Below 384 pixels resize the shorter edge to `size / crop_pct` and crop; from there on squeeze the whole image."""
    shortest, _ = _size(processor)
    if shortest is None:
        raise _Refused("its size has no shortest_edge")
    crop = _crop(processor)
    if shortest >= 384:
        return _Geometry(*(crop or (shortest, shortest)), squeeze=(shortest, shortest))
    if crop:
        raise _Refused("it crops twice")
    return _Geometry(shortest, shortest, resize_shortest=_enlarged(shortest, processor))


def _poolformer(processor: Any) -> _Geometry:
    """Resize the shorter edge to `size / crop_pct`, or both edges where they differ; crop the centre."""
    if processor.crop_pct is None:
        return _usual(processor)
    shortest, whole = _size(processor)
    crop = _crop(processor)
    if crop is None:
        raise _Refused(_NO_SIZE)
    if whole is not None and whole[0] != whole[1]:
        return _Geometry(*crop, squeeze=(_enlarged(whole[0], processor), _enlarged(whole[1], processor)))
    return _Geometry(*crop, resize_shortest=_enlarged(shortest or (whole or (0, 0))[0], processor))


def _levit(processor: Any) -> _Geometry:
    """Resize the shorter edge to 256/224 of what is said; crop the centre."""
    usual = _usual(processor)
    if usual.resize_shortest is None:
        return usual
    return _Geometry(usual.height, usual.width, resize_shortest=int((256 / 224) * usual.resize_shortest))


def _perceiver(processor: Any) -> _Geometry:
    """Crop the centre to `size / crop_size` of the shorter edge, then squeeze what is left."""
    _, whole = _size(processor)
    crop = _crop(processor)
    if whole is None:
        raise _Refused("its size has no height and width")
    if crop is None:
        return _Geometry(*whole)
    if whole[0] > crop[0] or whole[1] > crop[1]:
        raise _Refused("its crop_size is smaller than its size")
    return _Geometry(*whole, keep=(whole[0] / crop[0], whole[1] / crop[1]))


def _textnet(processor: Any) -> _Geometry:
    """Resize the shorter edge, both edges rounded up to a multiple; crop the centre."""
    shortest, _ = _size(processor)
    crop = _crop(processor)
    if shortest is None or crop is None:
        raise _Refused(_NO_SIZE)
    return _Geometry(*crop, resize_shortest=shortest, multiple=_edge(processor.size_divisor, "size_divisor"))


def _segformer(processor: Any) -> _Geometry:
    """Squeeze the whole image; `do_center_crop` means nothing to it."""
    _, whole = _size(processor)
    if whole is None:
        raise _Refused(_NO_SIZE)
    return _Geometry(*whole)


def _never(why: str) -> Callable[[Any], _Geometry]:
    def refuse(processor: Any) -> _Geometry:  # noqa: ARG001 - the others look at it
        raise _Refused(why)

    return refuse


_GEOMETRIES: dict[str, Callable[[Any], _Geometry]] = {
    "ConvNext": _convnext,
    "Donut": _never("it resizes twice, and fills up with black what is missing to a page"),
    "Gemma3": _never("it makes input for a language model"),
    "ImageGPT": _never("it makes a list of colours of an image"),
    "Levit": _levit,
    "PPLCNet": _never("it needs torchvision"),
    "Perceiver": _perceiver,
    "PoolFormer": _poolformer,
    "Segformer": _segformer,
    "Siglip2": _never("it cuts an image of any size into patches (NaFlex)"),
    "TextNet": _textnet,
    "TimmWrapper": _never("it needs timm"),
}


def _normalisation(processor: Any) -> tuple[Three, Three]:
    """What is subtracted from a rescaled pixel, and what it is divided by."""
    none: tuple[Three, Three] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    # MobileViT's processor has a mean, and makes no use of it.
    is_normalised = bool(processor.do_normalize) and _kind(type(processor).__name__) != "MobileViT"
    mean, std = (_mean(processor), _std(processor)) if is_normalised else none
    if _kind(type(processor).__name__) != "EfficientNet":
        return mean, std
    if processor.do_rescale and processor.rescale_offset:
        mean = _three([value + 1 for value in mean], "image_mean")
    if processor.include_top:
        # It divides once more, and subtracts nothing.
        std = _three([value * more for value, more in zip(std, _std(processor), strict=True)], "image_std")
    return mean, std


def _mean(processor: Any) -> Three:
    return _three(processor.image_mean, "image_mean")


def _std(processor: Any) -> Three:
    values = _three(processor.image_std, "image_std")
    if 0.0 in values:
        raise _Refused("image_std holds 0, by which nothing can be divided")
    return values


def _three(values: Any, name: str) -> Three:
    each = values if isinstance(values, (list, tuple)) else [values] * 3
    if len(each) == 1:
        raise _Refused(f"{name} has one value, and only models for colour images, of three planes, are served")
    if len(each) != 3:
        raise _Refused(f"{name} has {len(each)} values instead of 3")
    red, green, blue = (_number(value, name) for value in each)
    return red, green, blue


def _size(processor: Any) -> tuple[int | None, tuple[int, int] | None]:
    """The length of the shorter edge, or height and width; one of the two is None."""
    if not processor.do_resize:
        raise _Refused("it does not resize, so that images have no one size")
    size = _given(processor.size)
    if size.keys() == {"shortest_edge"}:
        return _edge(size["shortest_edge"], "size.shortest_edge"), None
    if size.keys() >= {"height", "width"} and "shortest_edge" not in size:
        return None, (_edge(size["height"], "size.height"), _edge(size["width"], "size.width"))
    raise _Refused(f"its size says {', '.join(sorted(size)) or 'nothing'}, not shortest_edge or height and width")


def _crop(processor: Any) -> tuple[int, int] | None:
    """The height and width of the crop from the centre; None: there is no crop."""
    if not getattr(processor, "do_center_crop", False):
        return None
    crop = _given(processor.crop_size)
    if not crop.keys() >= {"height", "width"}:
        raise _Refused("do_center_crop needs a crop_size of height and width")
    return _edge(crop["height"], "crop_size.height"), _edge(crop["width"], "crop_size.width")


def _given(size: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(size or {}).items() if value is not None}


def _enlarged(edge: int, processor: Any) -> int:
    """An edge before it is cropped to `crop_pct` of it."""
    share = _number(processor.crop_pct, "crop_pct")
    if share <= 0:
        raise _Refused("crop_pct is not above 0")
    return _edge(int(edge / share), "size / crop_pct")


def _edge(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LONGEST_INPUT_EDGE:
        raise _Refused(f"{name} is no number of pixels from 1 to {LONGEST_INPUT_EDGE}")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _Refused(f"{name} holds what is no number")
    return float(value)


def _resample(processor: Any) -> int:
    value = processor.resample
    if isinstance(value, bool) or not isinstance(value, int) or value not in range(6):
        raise _Refused("resample is none of Pillow's numbers, 0 to 5")
    return int(value)
