"""Decodes TIFF files whose samples lie in planes that Pillow does not put together: each plane as a grey image."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import NotAnImage
from model.images.colours import without_alpha
from model.images.formats import tiff
from model.images.formats.header import Header
from model.images.formats.samples import Samples
from model.images.formats.tiff import Tags
from model.images.formats.tiff_directory import rewritten, whole_numbers

# Where the strips or tiles of all planes lie, plane by plane, and how long they are.
_PLACES = (273, 279, 324, 325)


def decode(header: Header, opened: Callable[[bytes], Image.Image]) -> Image.Image | None:
    """Decode the file; None where Pillow can do it.

    Args:
        header: of the file.
        opened: opens a TIFF file, and refuses one that is too large.

    Raises:
        NotAnImage: a plane is missing.
    """
    tags = tiff.tags_of(header.file)
    mode = tags.mode_of_planes()
    if mode is None:
        return None
    samples, bands = Samples(tags.first(tiff.BITS, 8)), list[Image.Image]()
    for number in range(Image.getmodebands(mode)):
        plane = opened(_plane(header.file, number, tags))
        plane.load()
        bands.append(without_alpha(plane, samples))
    return Image.merge(mode, bands)


def _plane(data: bytes, number: int, tags: Tags) -> bytes:
    """Give the file a directory that names that plane alone."""
    changes: dict[int, Sequence[int] | NDArray[np.uint64]] = {
        tiff.BITS: [tags.first(tiff.BITS, 8)],
        tiff.PHOTOMETRIC: [tiff.BLACK_IS_ZERO],
        tiff.COUNT: [1],
        tiff.PLANES: [1],
        tiff.KIND: [1],
        tiff.EXTRA: [],
    }
    for tag in _PLACES:
        numbers = whole_numbers(data, tag)
        if numbers is not None:
            each, rest = divmod(len(numbers), tags.first(tiff.COUNT, 1))
            if rest or not each:
                raise NotAnImage("The image is damaged or cut off; send the whole file.")
            changes[tag] = numbers[number * each : (number + 1) * each]
    return rewritten(data, changes)
