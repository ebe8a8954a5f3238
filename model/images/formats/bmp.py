"""Reads the headers of a BMP file: Microsoft's BITMAPFILEHEADER and its successors."""

from dataclasses import dataclass

from model.errors import NotAnImage
from model.images.formats.header import Header, Unusual

FORMAT = "BMP"
_CORE_HEADER = 12
_HEADERS = (_CORE_HEADER, 40, 52, 56, 64, 108, 124)
_PLAIN, _RUNS_OF_8, _RUNS_OF_4, _BITFIELDS, _ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_PACKINGS = {4: "JPEG", 5: "PNG"}
_BITS = (1, 4, 8, 16, 24, 32)
# Where the masks begin, behind a header of 40 bytes or within a longer one.
_MASKS_AT = 54


@dataclass(frozen=True, slots=True)
class Fields:
    """A BMP file whose pixels are bit fields.

    Attributes:
        width, height: in pixels.
        is_top_down: whether the first row is the uppermost.
        bits: of a pixel.
        masks: which bits are red, green, blue and alpha.
        start: where the pixels begin in the file.
    """

    width: int
    height: int
    is_top_down: bool
    bits: int
    masks: tuple[int, int, int, int]
    start: int


def is_format(data: bytes) -> bool:
    """Tell a BMP file by its first bytes."""
    return data.startswith(b"BM")


def read(data: bytes) -> Header:
    """Read the file's header.

    Raises:
        Unusual: see `Header`; a file whose pixels are packed in runs is, since Pillow unpacks them in Python.
        NotAnImage: it holds what can't be read.
    """
    size = _number(data, 14, 4)
    if size not in _HEADERS or len(data) < 14 + size:
        raise Unusual
    if size == _CORE_HEADER:
        width, height, bits, packing = _number(data, 18, 2), _number(data, 20, 2), _number(data, 24, 2), _PLAIN
    else:
        width, height = _number(data, 18, 4), abs(int.from_bytes(data[22:26], "little", signed=True))
        bits, packing = _number(data, 28, 2), _number(data, 30, 4)
    if packing in _PACKINGS:
        raise NotAnImage(f"The BMP file holds a {_PACKINGS[packing]} file, which can't be read; send that by itself.")
    if bits not in _BITS:
        raise NotAnImage(f"A BMP file with {bits} bits a pixel can't be read; save it with 8, 24 or 32.")
    if packing not in (_PLAIN, _BITFIELDS, _ALPHA_BITFIELDS) or not width or not height:
        raise Unusual
    return Header(FORMAT, data, is_plain=True, pixels=data, width=width, height=height)


def fields_of(data: bytes) -> Fields | None:
    """Read where and how the pixels lie, where they are bit fields."""
    size, bits, packing = _number(data, 14, 4), _number(data, 28, 2), _number(data, 30, 4)
    if size == _CORE_HEADER or packing not in (_BITFIELDS, _ALPHA_BITFIELDS) or bits not in (16, 24, 32):
        return None
    has_alpha = size >= 56 or packing == _ALPHA_BITFIELDS
    red, green, blue, alpha = (_number(data, _MASKS_AT + 4 * place, 4) for place in range(4))
    height = int.from_bytes(data[22:26], "little", signed=True)
    masks = (red, green, blue, alpha if has_alpha else 0)
    return Fields(_number(data, 18, 4), abs(height), height < 0, bits, masks, _number(data, 10, 4))


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
