"""Reads the values of an image processor's configuration, and refuses those that no recipe can hold."""

import math
from typing import Any

from model.recipe import Three

# No known image classifier has a larger input; a wrong number must not use up the machine's memory.
LONGEST_INPUT_EDGE = 2048


class NotSupported(Exception):
    """No recipe can describe what the processor does; the message is the reason, as part of a sentence."""


def read_mean(processor: Any) -> Three:
    """Return what is subtracted from each colour."""
    return read_three(processor.image_mean, "image_mean")


def read_std(processor: Any) -> Three:
    """Return what each colour is divided by."""
    values = read_three(processor.image_std, "image_std")
    if 0.0 in values:
        raise NotSupported("image_std holds 0, by which nothing can be divided")
    return values


def read_three(values: Any, name: str) -> Three:
    """Return a number for each of red, green and blue; one number may stand for all three."""
    each = values if isinstance(values, (list, tuple)) else [values] * 3
    if len(each) == 1:
        raise NotSupported(f"{name} has one value, and only models for colour images, of three planes, are served")
    if len(each) != 3:
        raise NotSupported(f"{name} has {len(each)} values instead of 3")
    red, green, blue = (read_number(value, name) for value in each)
    return red, green, blue


def read_size(processor: Any) -> tuple[int | None, tuple[int, int] | None]:
    """Return the length of the shorter edge, or height and width, in pixels; the other of the two is None."""
    if not processor.do_resize:
        raise NotSupported("it does not resize, so that images have no one size")
    size = _without_none(processor.size)
    if size.keys() == {"shortest_edge"}:
        return read_edge(size["shortest_edge"], "size.shortest_edge"), None
    if size.keys() >= {"height", "width"} and "shortest_edge" not in size:
        return None, (read_edge(size["height"], "size.height"), read_edge(size["width"], "size.width"))
    raise NotSupported(f"its size says {', '.join(sorted(size)) or 'nothing'}, not shortest_edge or height and width")


def read_crop(processor: Any) -> tuple[int, int] | None:
    """Return height and width of the crop from the centre, in pixels; None: there is no crop."""
    if not getattr(processor, "do_center_crop", False):
        return None
    crop = _without_none(processor.crop_size)
    if not crop.keys() >= {"height", "width"}:
        raise NotSupported("do_center_crop needs a crop_size of height and width")
    return read_edge(crop["height"], "crop_size.height"), read_edge(crop["width"], "crop_size.width")


def edge_before_crop(edge: int, processor: Any) -> int:
    """Return the length of an edge from which a crop of `crop_pct` leaves `edge` pixels."""
    share = read_number(processor.crop_pct, "crop_pct")
    if share <= 0:
        raise NotSupported("crop_pct is not above 0")
    return read_edge(int(edge / share), "size / crop_pct")


def read_edge(value: Any, name: str) -> int:
    """Return a number of pixels."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LONGEST_INPUT_EDGE:
        raise NotSupported(f"{name} is no number of pixels from 1 to {LONGEST_INPUT_EDGE}")
    return value


def read_number(value: Any, name: str) -> float:
    """Return a number that is finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise NotSupported(f"{name} holds what is no number")
    return float(value)


def read_resample(processor: Any) -> int:
    """Return Pillow's number of the filter that resizes."""
    value = processor.resample
    if isinstance(value, bool) or not isinstance(value, int) or value not in range(6):
        raise NotSupported("resample is none of Pillow's numbers, 0 to 5")
    return int(value)


def _without_none(size: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(size or {}).items() if value is not None}
