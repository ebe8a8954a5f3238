"""Makes Pillow read grey TIFF files with every depth, sample format and byte order; without it, Pillow reads only some.

Pillow has a table of the layouts that it can read; the missing ones are added to it. libtiff, which decompresses,
returns numbers in the machine's byte order, while Pillow assumes the file's byte order for some layouts.

Grey with alpha, of 16 bits each, is read as if the four bytes were red, green, blue and alpha of 8 bits, and converted
afterwards.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from model.images.colours import convert_in_bands

_UNSIGNED, _SIGNED, _FLOATING = 1, 2, 3
_ORDERS = (b"II", b"MM")
# For a sample format and its bits: Pillow's mode and raw mode, in a little-endian and in a big-endian file.
_LAYOUTS = {
    (_SIGNED, 8): (("L", "L"), ("L", "L")),
    (_UNSIGNED, 12): (("I;16", "I;12"), ("I;16", "I;12")),
    (_UNSIGNED, 16): (("I;16", "I;16"), ("I;16B", "I;16B")),
    (_SIGNED, 16): (("I", "I;16S"), ("I", "I;16BS")),
    (_UNSIGNED, 32): (("I", "I;32"), ("I", "I;32B")),
    (_SIGNED, 32): (("I", "I;32S"), ("I", "I;32BS")),
    (_FLOATING, 32): (("F", "F;32F"), ("F", "F;32BF")),
    (_FLOATING, 64): (("F", "F;64F"), ("F", "F;64BF")),
}
_IN_NATIVE_ORDER = {
    "I;16S": "I;16NS",
    "I;16BS": "I;16NS",
    "I;32": "I;32N",
    "I;32B": "I;32N",
    "I;32S": "I;32NS",
    "I;32BS": "I;32NS",
    "F;32F": "F;32NF",
    "F;32BF": "F;32NF",
    "F;64F": "F;64NF",
    "F;64BF": "F;64NF",
}
_SAMPLES_PER_PIXEL, _EXTRA_SAMPLES = 277, 338
# For each meaning of the second sample (unspecified, premultiplied alpha, alpha): the mode of the image.
_GREY_WITH = {(0,): "L", (1,): "La", (2,): "LA"}


@dataclass(frozen=True, slots=True)
class GreyWithAlpha:
    """Describes grey with alpha, of 16 bits each, that Pillow reads as RGBA.

    Attributes:
        mode: the mode of the image with 8 bits: `L`, `La` or `LA`.
        order: the byte order of the samples, as numpy writes it.
    """

    mode: str
    order: str


def _add_layouts() -> None:
    """Add the missing layouts to Pillow's table. `samples.py` later decides which samples are black and white."""
    for order in _ORDERS:
        # Pillow would divide colours by their alpha, with rounding; on white, premultiplied colours need no division.
        TiffImagePlugin.OPEN_INFO[order, 2, (1,), 1, (8,) * 4, (1,)] = "RGBa", "RGBa"
        for extra in _GREY_WITH:
            TiffImagePlugin.OPEN_INFO.setdefault((order, 1, (1,), 1, (16, 16), extra), ("RGBA", "RGBA"))
    for (kind, bits), layouts in _LAYOUTS.items():
        for order, layout in zip(_ORDERS, layouts, strict=True):
            for photometric in (0, 1):
                TiffImagePlugin.OPEN_INFO.setdefault((order, photometric, (kind,), 1, (bits,), ()), layout)


def use_native_order(image: Image.Image) -> None:
    """Make an image that is open and not yet loaded take libtiff's numbers in the machine's byte order."""
    if not isinstance(image, ImageFile.ImageFile):
        return
    for number, tile in enumerate(image.tile):
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple) and tile.args[0] in _IN_NATIVE_ORDER:
            args = (_IN_NATIVE_ORDER[tile.args[0]], *tile.args[1:])
            image.tile[number] = tile._replace(args=args)


def find_grey_with_alpha(image: Image.Image) -> GreyWithAlpha | None:
    """Describe grey with alpha of 16 bits in an image that is open and not yet loaded; None for any other image."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not image.tile:
        return None
    # No other layout reads two samples as four bands.
    if image.mode != "RGBA" or image.tag_v2.get(_SAMPLES_PER_PIXEL) != 2:
        return None
    is_native = image.tile[0].codec_name == "libtiff"
    order = "=" if is_native else {b"II": "<", b"MM": ">"}[image.tag_v2.prefix]
    return GreyWithAlpha(_GREY_WITH[image.tag_v2[_EXTRA_SAMPLES]], order)


def convert_grey_with_alpha(image: Image.Image, layout: GreyWithAlpha) -> Image.Image:
    """Convert an image that was read as RGBA to grey, with or without alpha, of 8 bits."""
    count = Image.getmodebands(layout.mode)

    def in_eight_bits(band: Image.Image) -> Image.Image:
        values = np.asarray(band).view(layout.order + "u2")[..., :count].astype(np.uint16)
        # About value / 257, rounded, in 16-bit arithmetic: ten times as fast as a division.
        eight = ((values - (values >> 8) + 128) >> 8).astype(np.uint8)
        return Image.frombytes(layout.mode, band.size, eight.tobytes())

    return convert_in_bands(image, layout.mode, in_eight_bits)


_add_layouts()
