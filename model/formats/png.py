"""Reads the headers of a PNG file: ISO/IEC 15948, https://www.w3.org/TR/png-3."""

import zlib

from model.formats import orientation
from model.formats.header import MOST_PARTS, Header, Unusual

FORMAT = "PNG"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# All that pixels are made of.
_OF_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Chunks after the image that are looked at for its orientation.
_MOST_AFTER = 64
_MOST_TEXT_BYTES = 65536
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp\x00", b"Raw profile type exif\x00"
# What a byte of unpacked data, and a pixel, cost in pixels of a baseline JPEG; an interlaced file goes over them again.
_WORK_OF_BYTE, _WORK_OF_PIXEL, _INTERLACED = 0.3, 0.5, 2.0


def is_format(data: bytes) -> bool:
    """Tell a PNG file by its first bytes."""
    return data.startswith(_SIGNATURE)


def read(data: bytes) -> Header:
    """Read the chunks up to the end of the image data, and some after it.

    Raises:
        Unusual: see `Header`.
    """
    width, height, bits, colours, is_interlaced = _image_header(data)
    kept = [(0, len(_SIGNATURE))]
    exif = xmp = None
    is_image, after = False, 0
    at = len(_SIGNATURE)
    for _ in range(MOST_PARTS):
        kind, start, end = data[at + 4 : at + 8], at + 8, at + 12 + int.from_bytes(data[at : at + 4])
        if end > len(data):
            # Cut off: where that is in the image, the decoder says so.
            kept += [] if after else [(at, len(data))]
            break
        if kind == b"IDAT":
            is_image = not after
        elif is_image:
            after += 1
        if kind in _OF_PIXELS and not after:
            # A chunk behind the last one kept makes one piece with it: image data come in hundreds.
            kept[-1:] = [(kept[-1][0], end)] if kept[-1][1] == at else [kept[-1], (at, end)]
        elif kind == b"eXIf":
            exif = exif or data[start : end - 4]
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            exif = exif or _raw_exif(kind, data[start : min(end - 4, start + _MOST_TEXT_BYTES)])
            xmp = xmp or _xmp(kind, data[start : min(end - 4, start + _MOST_TEXT_BYTES)])
        if kind == b"IEND" or after > _MOST_AFTER:
            break
        at = end
    else:
        if not after:
            raise Unusual
    pieces = [data[start:end] for start, end in kept]
    work = _WORK_OF_PIXEL + _WORK_OF_BYTE * _SAMPLES[colours] * bits / 8
    return Header(
        FORMAT,
        data,
        is_plain=True,
        pixels=b"".join([*pieces, _END] if after else pieces),
        width=width,
        height=height,
        work_of_pixel=work * (_INTERLACED if is_interlaced else 1),
        orientation=orientation.of(exif, xmp),
    )


def bits_of(data: bytes) -> int:
    """The bits of a sample, as the file's header says."""
    return data[24] if len(data) > 24 else 8


def in_eight_bits(transparent: object, bits: int) -> object:
    """What `tRNS` says is transparent, as the decoder gives samples: with 8 bits, but for grey ones of 16."""
    if isinstance(transparent, int) and bits < 8:
        # The lowest bits count (11.3.1.1), and a sample of fewer than 8 is spread over all of them.
        return (transparent & (2**bits - 1)) * 255 // (2**bits - 1)
    if isinstance(transparent, tuple):
        return tuple(value >> 8 if bits == 16 else value & 255 for value in transparent)
    return transparent & 255 if isinstance(transparent, int) and bits == 8 else transparent


def _image_header(data: bytes) -> tuple[int, int, int, int, bool]:
    """Width, height, bits of a sample, type of colours, and whether it is interlaced."""
    if data[8:16] != b"\x00\x00\x00\rIHDR":
        raise Unusual
    bits, colours, _compression, _filter, interlace = data[24:29]
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if not width or not height or colours not in _SAMPLES or bits not in (1, 2, 4, 8, 16):
        raise Unusual
    return width, height, bits, colours, interlace != 0


def _xmp(kind: bytes, text: bytes) -> bytes | None:
    return text if kind == b"iTXt" and text.startswith(_XMP) else None


def _raw_exif(kind: bytes, text: bytes) -> bytes | None:
    """EXIF data as ImageMagick writes it: in hexadecimal digits, after three lines of text."""
    if not text.startswith(_RAW_EXIF) or kind == b"iTXt":
        return None
    profile = text[len(_RAW_EXIF) :]
    try:
        if kind == b"zTXt":
            profile = zlib.decompressobj().decompress(profile[1:], _MOST_TEXT_BYTES)
        digits = b"".join(profile.split(b"\n")[3:])
        return bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    except (ValueError, zlib.error):
        return None
