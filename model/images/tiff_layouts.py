"""Has Pillow read grey TIFF files of every depth, kind of sample and byte order; by itself it reads some of them.

What Pillow decodes is told by a table of layouts, to which those that it lacks are added. And libtiff, which unpacks
what is packed, gives numbers in the machine's byte order, while Pillow takes some for the file's.

Grey and alpha of 16 bits are read as if their four bytes were red, green, blue and alpha of 8, and are then put right.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from model.images.colours import in_bands

_UNSIGNED, _SIGNED, _FLOATING = 1, 2, 3
_ORDERS = (b"II", b"MM")
# Kind and bits of a sample: Pillow's mode, and how it calls such numbers in a little-endian and a big-endian file.
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
_COUNT, _EXTRA = 277, 338
# What the second sample may be, and the mode that it makes: unspecified, alpha that is multiplied, alpha.
_GREY_WITH = {(0,): "L", (1,): "La", (2,): "LA"}


@dataclass(frozen=True, slots=True)
class GreyWithAlpha:
    """Grey and alpha of 16 bits that were read as RGBA.

    Attributes:
        mode: what they make with 8 bits.
        order: of their bytes, as numpy writes it.
    """

    mode: str
    order: str


def add() -> None:
    """Add the layouts that Pillow lacks to its table. White and black are told apart later, by `samples.py`."""
    for order in _ORDERS:
        # Pillow by itself divides colours by their alpha, and rounds: laid on white, they need no division.
        TiffImagePlugin.OPEN_INFO[order, 2, (1,), 1, (8,) * 4, (1,)] = "RGBa", "RGBa"
        for extra in _GREY_WITH:
            TiffImagePlugin.OPEN_INFO.setdefault((order, 1, (1,), 1, (16, 16), extra), ("RGBA", "RGBA"))
    for (kind, bits), layouts in _LAYOUTS.items():
        for order, layout in zip(_ORDERS, layouts, strict=True):
            for photometric in (0, 1):
                TiffImagePlugin.OPEN_INFO.setdefault((order, photometric, (kind,), 1, (bits,), ()), layout)


def in_native_order(image: Image.Image) -> None:
    """Have an image that was opened, and is not loaded, take what libtiff unpacks in the machine's byte order."""
    if not isinstance(image, ImageFile.ImageFile):
        return
    for number, tile in enumerate(image.tile):
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple) and tile.args[0] in _IN_NATIVE_ORDER:
            args = (_IN_NATIVE_ORDER[tile.args[0]], *tile.args[1:])
            image.tile[number] = tile._replace(args=args)


def grey_with_alpha(image: Image.Image) -> GreyWithAlpha | None:
    """Find grey and alpha of 16 bits in an image that is opened, and not loaded; None where it has others."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not image.tile:
        return None
    # No other layout makes four bands of two samples.
    if image.mode != "RGBA" or image.tag_v2.get(_COUNT) != 2:
        return None
    is_native = image.tile[0].codec_name == "libtiff"
    order = "=" if is_native else {b"II": "<", b"MM": ">"}[image.tag_v2.prefix]
    return GreyWithAlpha(_GREY_WITH[image.tag_v2[_EXTRA]], order)


def put_right(image: Image.Image, found: GreyWithAlpha) -> Image.Image:
    """Make of an image that was read as RGBA what it is, with 8 bits."""
    count = Image.getmodebands(found.mode)

    def in_eight_bits(band: Image.Image) -> Image.Image:
        values = np.asarray(band).view(found.order + "u2")[..., :count].astype(np.uint16)
        # Nearly value / 257, rounded, within 16 bits: a tenth of the time of a division.
        eight = ((values - (values >> 8) + 128) >> 8).astype(np.uint8)
        return Image.frombytes(found.mode, band.size, eight.tobytes())

    return in_bands(image, found.mode, in_eight_bits)


add()
