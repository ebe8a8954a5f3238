"""Reads the headers of a PNG file: ISO/IEC 15948, https://www.w3.org/TR/png-3."""

import struct
import zlib
from collections.abc import Iterator, Set

from model.images.formats import orientation
from model.images.formats.header import MOST_PARTS, Header, Unusual

FORMAT = "PNG"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")
_HEADER_END = 33
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# What stands before the image data, if at all.
_BEFORE_IMAGE = frozenset({b"PLTE", b"tRNS"})
_GREY, _RGB, _PALETTE = 0, 2, 3
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}
# How many bytes tRNS may have, by type of colours.
_TRANSPARENT_BYTES = {_GREY: range(2, 3), _RGB: range(6, 7), _PALETTE: range(1, 257)}
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_OF_USE = _BEFORE_IMAGE | _TEXTS | {b"eXIf", b"IDAT", b"IEND"}
# Texts that are looked at for an orientation, those that may hold one, and how much of each is read.
_MOST_TEXTS, _MOST_PROFILES, _MOST_TEXT_BYTES = 1024, 16, 65536
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp\x00", b"Raw profile type exif\x00"
# What a byte of unpacked data, and a pixel, cost in pixels of a baseline JPEG; an interlaced file goes over them again.
_WORK_OF_BYTE, _WORK_OF_PIXEL, _INTERLACED = 0.3, 0.5, 2.0


def is_format(data: bytes) -> bool:
    """Tell a PNG file by its first bytes."""
    return data.startswith(_SIGNATURE)


def read(data: bytes, most_parts: int = MOST_PARTS) -> Header:
    """Read all chunks, and keep those that pixels are made of.

    Args:
        data: the file.
        most_parts: how many chunks are looked at.

    Raises:
        Unusual: see `Header`; a file of more chunks is.
    """
    width, height, bits, colours, is_interlaced = _image_header(data)
    kept = [(0, _HEADER_END)]
    exif = xmp = None
    texts = profiles = 0
    is_whole, of_use = True, set(_OF_USE)
    for kind, at, end in _chunks(data, most_parts, of_use):
        if kind == b"IDAT":
            # A chunk behind the last one kept makes one piece with it: image data come in hundreds.
            kept[-1:] = [(kept[-1][0], end)] if kept[-1][1] == at else [kept[-1], (at, end)]
            is_whole = end <= len(data)
            of_use -= _BEFORE_IMAGE
        elif kind in _TEXTS:
            texts += 1
            if data.startswith((_XMP, _RAW_EXIF), at + 8):
                profiles += 1
                text = data[at + 8 : min(end - 4, at + 8 + _MOST_TEXT_BYTES)]
                exif, xmp = exif or _raw_exif(kind, text), xmp or _xmp(kind, text)
            if texts == _MOST_TEXTS or profiles == _MOST_PROFILES:
                of_use -= _TEXTS
        else:
            # Of several of these, the first counts.
            of_use.discard(kind)
            if kind == b"eXIf":
                exif = data[at + 8 : end - 4] or exif
            elif _is_of_pixels(kind, data[at:end], colours):
                kept.append((at, end))
    pieces = [data[start:end] for start, end in kept]
    work = _WORK_OF_PIXEL + _WORK_OF_BYTE * _SAMPLES[colours] * bits / 8
    return Header(
        FORMAT,
        data,
        is_plain=True,
        # (Where the image is cut off, the decoder says so.)
        pixels=b"".join([*pieces, _END] if is_whole else pieces),
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


def _chunks(data: bytes, most: int, of_use: Set[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Give kind, start and end of each chunk whose kind is of use, up to the end; the last may be cut off.

    Args:
        data: the file.
        most: how many chunks are looked at.
        of_use: the kinds, which may become fewer meanwhile.

    Raises:
        Unusual: there are more than `most`.
    """
    at = len(_SIGNATURE)
    for _ in range(most):
        if at + _CHUNK.size > len(data):
            return
        length, kind = _CHUNK.unpack_from(data, at)
        end = at + 12 + length
        if kind in of_use:
            if kind == b"IEND":
                return
            yield kind, at, end
        at = end
    raise Unusual


def _is_of_pixels(kind: bytes, chunk: bytes, colours: int) -> bool:
    """Tell whether a chunk of `_BEFORE_IMAGE` decides what the pixels are, as browsers (libpng) have it.

    A palette beside other colours is a mere proposal, and a tRNS chunk that is damaged is passed over.
    """
    if kind == b"PLTE":
        return colours == _PALETTE
    is_possible = len(chunk) - 12 in _TRANSPARENT_BYTES.get(colours, ())
    return is_possible and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


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
