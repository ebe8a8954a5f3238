"""Translates a transformers image processor to a recipe: each kind of processor reads its configuration differently.

When a model is prepared, `comparison.py` compares the recipe's pixels with those of the processor itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model.errors import UnsupportedModel
from model.prepare.processor_values import (
    NotSupported,
    edge_before_crop,
    read_crop,
    read_edge,
    read_mean,
    read_number,
    read_resample,
    read_size,
    read_std,
    read_three,
)
from model.recipe import Recipe, Three

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
            resample=read_resample(processor),
            height=geometry.height,
            width=geometry.width,
            scale=read_number(processor.rescale_factor, "rescale_factor") if processor.do_rescale else 1.0,
            mean=mean,
            std=std,
            squeeze=geometry.squeeze,
            multiple=geometry.multiple,
            keep=geometry.keep,
            is_bgr=bool(getattr(processor, "do_flip_channel_order", False)),
        )
    except NotSupported as reason:
        raise UnsupportedModel(f"{file}: {name} is not supported: {reason}; choose another CLASSIFIER_MODEL.") from None
    return recipe


def _kind(name: str) -> str:
    return name.removesuffix("Pil").removesuffix("Fast").removesuffix("ImageProcessor")


def _standard_geometry(processor: Any) -> _Geometry:
    """Resize to `size`, or the shorter edge to a length; crop the centre where `do_center_crop` is set."""
    shortest, whole = read_size(processor)
    crop = read_crop(processor)
    if shortest is not None:
        if crop is None:
            raise NotSupported(_NO_SIZE)
        return _Geometry(*crop, resize_shortest=shortest)
    assert whole is not None
    return _Geometry(*(crop or whole), squeeze=whole if crop else None)


def _convnext(processor: Any) -> _Geometry:
    """Below 384 pixels resize the shorter edge to `size / crop_pct` and crop; from 384 on resize the whole image."""
    shortest, _ = read_size(processor)
    if shortest is None:
        raise NotSupported("its size has no shortest_edge")
    crop = read_crop(processor)
    if shortest >= 384:
        return _Geometry(*(crop or (shortest, shortest)), squeeze=(shortest, shortest))
    if crop:
        raise NotSupported("it crops twice")
    return _Geometry(shortest, shortest, resize_shortest=edge_before_crop(shortest, processor))


def _poolformer(processor: Any) -> _Geometry:
    """Resize the shorter edge to `size / crop_pct`, or both edges where they differ; crop the centre."""
    if processor.crop_pct is None:
        return _standard_geometry(processor)
    shortest, whole = read_size(processor)
    crop = read_crop(processor)
    if crop is None:
        raise NotSupported(_NO_SIZE)
    if whole is not None and whole[0] != whole[1]:
        return _Geometry(*crop, squeeze=(edge_before_crop(whole[0], processor), edge_before_crop(whole[1], processor)))
    return _Geometry(*crop, resize_shortest=edge_before_crop(shortest or (whole or (0, 0))[0], processor))


def _levit(processor: Any) -> _Geometry:
    """Resize the shorter edge to 256/224 of `shortest_edge`; crop the centre."""
    standard = _standard_geometry(processor)
    if standard.resize_shortest is None:
        return standard
    return _Geometry(standard.height, standard.width, resize_shortest=int((256 / 224) * standard.resize_shortest))


def _perceiver(processor: Any) -> _Geometry:
    """Crop the centre to `size / crop_size` of the shorter edge, then resize it without keeping the proportions."""
    _, whole = read_size(processor)
    crop = read_crop(processor)
    if whole is None:
        raise NotSupported("its size has no height and width")
    if crop is None:
        return _Geometry(*whole)
    if whole[0] > crop[0] or whole[1] > crop[1]:
        raise NotSupported("its crop_size is smaller than its size")
    return _Geometry(*whole, keep=(whole[0] / crop[0], whole[1] / crop[1]))


def _textnet(processor: Any) -> _Geometry:
    """Resize the shorter edge, round both edges up to a multiple of `size_divisor`, and crop the centre."""
    shortest, _ = read_size(processor)
    crop = read_crop(processor)
    if shortest is None or crop is None:
        raise NotSupported(_NO_SIZE)
    return _Geometry(*crop, resize_shortest=shortest, multiple=read_edge(processor.size_divisor, "size_divisor"))


def _segformer(processor: Any) -> _Geometry:
    """Resize the whole image without keeping the proportions; this processor ignores `do_center_crop`."""
    _, whole = read_size(processor)
    if whole is None:
        raise NotSupported(_NO_SIZE)
    return _Geometry(*whole)


def _always_refused(reason: str) -> Callable[[Any], _Geometry]:
    def refuse(processor: Any) -> _Geometry:  # noqa: ARG001 - the other geometries use it
        raise NotSupported(reason)

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
    mean, std = (read_mean(processor), read_std(processor)) if is_normalised else none
    if _kind(type(processor).__name__) != "EfficientNet":
        return mean, std
    if processor.do_rescale and processor.rescale_offset:
        mean = read_three([value + 1 for value in mean], "image_mean")
    if processor.include_top:
        # EfficientNet's processor divides by std a second time, without subtracting the mean again.
        std = read_three([value * more for value, more in zip(std, read_std(processor), strict=True)], "image_std")
    return mean, std
