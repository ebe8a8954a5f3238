"""Reads the headers of a WebP file (RFC 9649)."""

from model.images.formats import orientation
from model.images.formats.header import MOST_PARTS, Header, Unusual

FORMAT = "WEBP"
_ANIMATION, _ALPHA = 0x02, 0x10
_WORK_OF_PIXEL = 2.0


def is_format(data: bytes) -> bool:
    """Recognise a WebP file by its first bytes."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def read(data: bytes) -> Header:
    """Read the chunks up to the image, and those after it.

    Raises:
        Unusual: see `Unusual`; or the file is an animation.
    """
    size = canvas = exif = xmp = None
    has_alpha = False
    at = 12
    for _ in range(MOST_PARTS):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if kind == b"VP8X":
            if body[0] & _ANIMATION:
                raise Unusual
            canvas = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
            has_alpha = bool(body[0] & _ALPHA)
        elif kind in (b"VP8 ", b"VP8L") and size is None:
            size = _lossy_size(body) if kind == b"VP8 " else _lossless_size(body)
            has_alpha = has_alpha or kind == b"VP8L"
        elif kind == b"EXIF":
            exif = exif or body
        elif kind == b"XMP ":
            xmp = xmp or body
        at += 8 + length + length % 2
        if at + 8 > len(data):
            break
    else:
        raise Unusual
    if size is None or (canvas or size) != size:
        raise Unusual
    width, height = size
    turned = orientation.read(exif, xmp)
    # Lossless data and alpha may have any number of Huffman tables, each of which takes as long as many pixels.
    return Header(FORMAT, data, True, data, width, height, _WORK_OF_PIXEL, not has_alpha, turned, has_alpha)


def _lossy_size(body: bytes) -> tuple[int, int]:
    if body[3:6] != b"\x9d\x01\x2a":
        raise Unusual
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _lossless_size(body: bytes) -> tuple[int, int]:
    if body[0] != 0x2F:
        raise Unusual
    packed = int.from_bytes(body[1:5], "little")
    return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
