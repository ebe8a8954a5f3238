"""Decodes TIFF files with separate planes that Pillow can't combine: each plane is decoded as a grey image."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import damaged
from model.images.colours import without_alpha
from model.images.formats import tiff
from model.images.formats.header import Header
from model.images.formats.samples import Samples
from model.images.formats.tiff import SampleTags
from model.images.formats.tiff_directory import Tag, read_integers, rewrite_directory

# StripOffsets, StripByteCounts, TileOffsets, TileByteCounts: each lists all planes, plane by plane.
_OFFSETS_AND_COUNTS = (273, 279, 324, 325)


def decode(header: Header, open_tiff: Callable[[bytes], Image.Image]) -> Image.Image | None:
    """Decode the file; None where Pillow can decode it.

    Args:
        header: the file and its headers.
        open_tiff: opens a TIFF file with Pillow, and raises where it is too large.

    Raises:
        NotAnImage: a plane is missing.
    """
    tags = tiff.tags_of(header.file)
    mode = tags.mode_of_planes()
    if mode is None:
        return None
    samples, bands = Samples(tags.first(Tag.BITS_PER_SAMPLE, 8)), list[Image.Image]()
    for number in range(Image.getmodebands(mode)):
        plane = open_tiff(_with_one_plane(header.file, number, tags))
        plane.load()
        bands.append(without_alpha(plane, samples))
    return Image.merge(mode, bands)


def _with_one_plane(data: bytes, number: int, tags: SampleTags) -> bytes:
    """Return the file with a directory that describes only that plane, as a grey image."""
    changes: dict[int, Sequence[int] | NDArray[np.uint64]] = {
        Tag.BITS_PER_SAMPLE: [tags.first(Tag.BITS_PER_SAMPLE, 8)],
        Tag.PHOTOMETRIC: [tiff.BLACK_IS_ZERO],
        Tag.SAMPLES_PER_PIXEL: [1],
        Tag.PLANAR_CONFIGURATION: [1],
        Tag.SAMPLE_FORMAT: [1],
        Tag.EXTRA_SAMPLES: [],
    }
    for tag in _OFFSETS_AND_COUNTS:
        numbers = read_integers(data, tag)
        if numbers is not None:
            each, rest = divmod(len(numbers), tags.first(Tag.SAMPLES_PER_PIXEL, 1))
            if rest or not each:
                raise damaged()
            changes[tag] = numbers[number * each : (number + 1) * each]
    return rewrite_directory(data, changes)
