"""Reads the headers of a PNG file (ISO/IEC 15948, https://www.w3.org/TR/png-3)."""

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
# Chunks that count only before the image data.
_BEFORE_IMAGE = frozenset({b"PLTE", b"tRNS"})
_GREY, _RGB, _PALETTE = 0, 2, 3
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}
# The valid sizes of tRNS in bytes, for each type of colour.
_TRANSPARENT_BYTES = {_GREY: range(2, 3), _RGB: range(6, 7), _PALETTE: range(1, 257)}
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_USED_CHUNKS = _BEFORE_IMAGE | _TEXTS | {b"eXIf", b"IDAT", b"IEND"}
# The largest numbers of text chunks, and of those that may have an orientation, and of bytes read of each.
_MOST_TEXTS, _MOST_PROFILES, _MOST_TEXT_BYTES = 1024, 16, 65536
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp\x00", b"Raw profile type exif\x00"
# The work for a decompressed byte and for a pixel, in pixels of a baseline JPEG; interlaced files take twice as long.
_WORK_OF_BYTE, _WORK_OF_PIXEL, _WORK_FACTOR_INTERLACED = 0.3, 0.5, 2.0


def is_format(data: bytes) -> bool:
    """Recognise a PNG file by its first bytes."""
    return data.startswith(_SIGNATURE)


def read(data: bytes, most_chunks: int = MOST_PARTS) -> Header:
    """Read all chunks, and keep those that the pixels depend on.

    Args:
        data: the file.
        most_chunks: the largest number of chunks.

    Raises:
        Unusual: see `Unusual`; or the file has more chunks.
    """
    width, height, bits, colours, is_interlaced = _image_header(data)
    kept = [(0, _HEADER_END)]
    exif = xmp = None
    texts = profiles = 0
    is_whole, used_chunks = True, set(_USED_CHUNKS)
    for kind, at, end in _chunks(data, most_chunks, used_chunks):
        if kind == b"IDAT":
            # A chunk directly after the last piece kept extends it, since image data may be in hundreds of chunks.
            kept[-1:] = [(kept[-1][0], end)] if kept[-1][1] == at else [kept[-1], (at, end)]
            is_whole = end <= len(data)
            used_chunks -= _BEFORE_IMAGE
        elif kind in _TEXTS:
            texts += 1
            if data.startswith((_XMP, _RAW_EXIF), at + 8):
                profiles += 1
                text = data[at + 8 : min(end - 4, at + 8 + _MOST_TEXT_BYTES)]
                exif, xmp = exif or _raw_exif(kind, text), xmp or _xmp(kind, text)
            if texts == _MOST_TEXTS or profiles == _MOST_PROFILES:
                used_chunks -= _TEXTS
        else:
            # The first of several such chunks counts.
            used_chunks.discard(kind)
            if kind == b"eXIf":
                exif = data[at + 8 : end - 4] or exif
            elif _pixels_depend_on(kind, data[at:end], colours):
                kept.append((at, end))
    pieces = [data[start:end] for start, end in kept]
    work = _WORK_OF_PIXEL + _WORK_OF_BYTE * _SAMPLES[colours] * bits / 8
    return Header(
        FORMAT,
        data,
        is_plain=True,
        # A file that is cut off gets no end chunk, so that the decoder reports it.
        pixels=b"".join([*pieces, _END] if is_whole else pieces),
        width=width,
        height=height,
        work_of_pixel=work * (_WORK_FACTOR_INTERLACED if is_interlaced else 1),
        orientation=orientation.read(exif, xmp),
    )


def bits_of(data: bytes) -> int:
    """Return the bits of a sample from the file's header; 8 where the file is too short."""
    return data[24] if len(data) > 24 else 8


def transparent_in_eight_bits(transparent: object, bits: int) -> object:
    """Convert the transparent colour of `tRNS` to the decoder's samples: 8 bits, except grey with 16."""
    if isinstance(transparent, int) and bits < 8:
        # Only the lowest bits count (11.3.1.1); the decoder scales a sample of fewer bits to 8.
        return (transparent & (2**bits - 1)) * 255 // (2**bits - 1)
    if isinstance(transparent, tuple):
        return tuple(value >> 8 if bits == 16 else value & 255 for value in transparent)
    return transparent & 255 if isinstance(transparent, int) and bits == 8 else transparent


def _chunks(data: bytes, most: int, used_chunks: Set[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each used chunk up to IEND; the last one may be cut off.

    Args:
        data: the file.
        most: the largest number of chunks, used or not.
        used_chunks: the kinds to yield; the caller may remove kinds during the iteration.

    Raises:
        Unusual: there are more than `most` chunks.
    """
    at = len(_SIGNATURE)
    for _ in range(most):
        if at + _CHUNK.size > len(data):
            return
        length, kind = _CHUNK.unpack_from(data, at)
        end = at + 12 + length
        if kind in used_chunks:
            if kind == b"IEND":
                return
            yield kind, at, end
        at = end
    raise Unusual


def _pixels_depend_on(kind: bytes, chunk: bytes, colours: int) -> bool:
    """Tell whether pixels depend on a chunk of `_BEFORE_IMAGE`, in the same way as browsers (libpng) do.

    In an image without palette colours, a palette is only a suggestion; a damaged tRNS chunk is ignored.
    """
    if kind == b"PLTE":
        return colours == _PALETTE
    is_possible = len(chunk) - 12 in _TRANSPARENT_BYTES.get(colours, ())
    return is_possible and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _image_header(data: bytes) -> tuple[int, int, int, int, bool]:
    """Return width, height, bits of a sample, type of colour, and whether the image is interlaced."""
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
    """Return EXIF data as ImageMagick writes it, in hexadecimal digits after three lines; None where there is none."""
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
