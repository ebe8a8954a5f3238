"""Decodes a BMP file whose pixels are bit fields in a layout that Pillow can't read.

Source: Microsoft's BITMAPV4HEADER. Each pixel is a number of 16, 24 or 32 bits; a mask selects the bits of each colour.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import NotAnImage, damaged
from model.images.formats.bmp import Fields, fields_of
from model.images.formats.header import Header

# The masks of red, green, blue (and alpha) that Pillow's BmpImagePlugin reads, by bits of a pixel.
_PILLOW_MASKS = {
    16: ((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)),
    24: ((0xFF0000, 0xFF00, 0xFF),),
    32: ((0xFF0000, 0xFF00, 0xFF, 0), (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
}


def decode(header: Header) -> Image.Image | None:
    """Decode the file to an RGB or RGBA image; None where Pillow can decode it.

    Raises:
        NotAnImage: the file is cut off, or a mask is empty.
    """
    fields = fields_of(header.file)
    if fields is None or _is_known(fields):
        return None
    stride = (fields.width * fields.bits + 31) // 32 * 4
    raw = header.file[fields.start : fields.start + stride * fields.height]
    if len(raw) < stride * fields.height:
        raise damaged()
    rows = np.frombuffer(raw, np.uint8).reshape(fields.height, stride)[:, : fields.width * fields.bits // 8]
    numbers = np.zeros((fields.height, fields.width), np.uint32)
    for place in range(fields.bits // 8):
        numbers |= rows[:, place :: fields.bits // 8].astype(np.uint32) << np.uint32(8 * place)
    masks = fields.masks if fields.masks[3] else fields.masks[:3]
    bands = [_band(numbers, mask) for mask in masks]
    pixels = np.stack(bands, -1)
    return Image.fromarray(pixels if fields.is_top_down else pixels[::-1].copy())


def _is_known(fields: Fields) -> bool:
    known = _PILLOW_MASKS[fields.bits]
    # Pillow ignores the alpha mask of 16 and 24 bits, so that such a file is decoded here.
    return fields.masks in known or (not fields.masks[3] and fields.masks[:3] in known)


def _band(numbers: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    if mask == 0:
        raise NotAnImage("The BMP file does not say which bits are which colour; save it again.")
    lowest = (mask & -mask).bit_length() - 1
    greatest = mask >> lowest
    values = (numbers & np.uint32(mask)) >> np.uint32(lowest)
    return ((values.astype(np.uint64) * 255 + greatest // 2) // greatest).astype(np.uint8)
