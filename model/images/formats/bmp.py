"""Reads the headers of a BMP file: Microsoft's BITMAPFILEHEADER and its successors."""

from dataclasses import dataclass

from model.errors import NotAnImage
from model.images.formats.header import Header, Unusual

FORMAT = "BMP"
_CORE_HEADER = 12
_HEADERS = (_CORE_HEADER, 40, 52, 56, 64, 108, 124)
_UNCOMPRESSED, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_EMBEDDED_FORMATS = {4: "JPEG", 5: "PNG"}
_BITS = (1, 4, 8, 16, 24, 32)
# The position of the masks: after a header of 40 bytes, or inside a longer one.
_MASKS_AT = 54


@dataclass(frozen=True, slots=True)
class Fields:
    """Describes the pixels of a BMP file that are bit fields.

    Attributes:
        width, height: in pixels.
        is_top_down: whether the first row in the file is the top row.
        bits: bits of a pixel: 16, 24 or 32.
        masks: the bits of red, green, blue and alpha.
        start: position of the pixels in the file.
    """

    width: int
    height: int
    is_top_down: bool
    bits: int
    masks: tuple[int, int, int, int]
    start: int


def is_format(data: bytes) -> bool:
    """Recognise a BMP file by its first bytes."""
    return data.startswith(b"BM")


def read(data: bytes) -> Header:
    """Read the file's header.

    Raises:
        Unusual: see `Unusual`; or the pixels are run-length encoded, which Pillow decodes slowly, in Python.
        NotAnImage: the file has pixels of a kind that can't be read.
    """
    size = _number(data, 14, 4)
    if size not in _HEADERS or len(data) < 14 + size:
        raise Unusual
    if size == _CORE_HEADER:
        width, height, bits = _number(data, 18, 2), _number(data, 20, 2), _number(data, 24, 2)
        compression = _UNCOMPRESSED
    else:
        width, height = _number(data, 18, 4), abs(int.from_bytes(data[22:26], "little", signed=True))
        bits, compression = _number(data, 28, 2), _number(data, 30, 4)
    if compression in _EMBEDDED_FORMATS:
        raise NotAnImage(
            f"The BMP file holds a {_EMBEDDED_FORMATS[compression]} file, which can't be read; send that by itself."
        )
    if bits not in _BITS:
        raise NotAnImage(f"A BMP file with {bits} bits a pixel can't be read; save it with 8, 24 or 32.")
    if compression not in (_UNCOMPRESSED, _BITFIELDS, _ALPHA_BITFIELDS) or not width or not height:
        raise Unusual
    return Header(FORMAT, data, is_plain=True, pixels=data, width=width, height=height)


def fields_of(data: bytes) -> Fields | None:
    """Read the layout of the pixels where they are bit fields; None where they are not."""
    size, bits, compression = _number(data, 14, 4), _number(data, 28, 2), _number(data, 30, 4)
    if size == _CORE_HEADER or compression not in (_BITFIELDS, _ALPHA_BITFIELDS) or bits not in (16, 24, 32):
        return None
    has_alpha = size >= 56 or compression == _ALPHA_BITFIELDS
    red, green, blue, alpha = (_number(data, _MASKS_AT + 4 * place, 4) for place in range(4))
    height = int.from_bytes(data[22:26], "little", signed=True)
    masks = (red, green, blue, alpha if has_alpha else 0)
    return Fields(_number(data, 18, 4), abs(height), height < 0, bits, masks, _number(data, 10, 4))


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
