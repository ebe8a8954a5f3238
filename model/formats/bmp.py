"""Reads the headers of a BMP file: Microsoft's BITMAPFILEHEADER and its successors."""

from model.formats.header import Header, Unusual

FORMAT = "BMP"
_CORE_HEADER = 12
_HEADERS = (_CORE_HEADER, 40, 52, 56, 64, 108, 124)
_PLAIN, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_BITS = (1, 4, 8, 16, 24, 32)


def is_format(data: bytes) -> bool:
    """Tell a BMP file by its first bytes."""
    return data.startswith(b"BM")


def read(data: bytes) -> Header:
    """Read the file's header.

    Raises:
        Unusual: see `Header`; a file whose pixels are packed in runs is, since Pillow unpacks them in Python.
    """
    size = _number(data, 14, 4)
    if size not in _HEADERS or len(data) < 14 + size:
        raise Unusual
    if size == _CORE_HEADER:
        width, height, bits, packing = _number(data, 18, 2), _number(data, 20, 2), _number(data, 24, 2), _PLAIN
    else:
        width, height = _number(data, 18, 4), abs(int.from_bytes(data[22:26], "little", signed=True))
        bits, packing = _number(data, 28, 2), _number(data, 30, 4)
    if packing not in (_PLAIN, _BITFIELDS, _ALPHA_BITFIELDS) or bits not in _BITS or not width or not height:
        raise Unusual
    return Header(FORMAT, data, is_plain=True, pixels=data, width=width, height=height)


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
