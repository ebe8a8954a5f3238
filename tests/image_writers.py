"""Writes image files of kinds that Pillow reads but does not write: TIFF, PNG and BMP, from numbers."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
# Sizes and struct's letters of TIFF's types: byte, short, long, signed short, float, double.
_TYPES = {1: "B", 3: "H", 4: "I", 8: "h", 9: "i", 11: "f", 12: "d"}
TagValues = Mapping[int, tuple[int, Sequence[float]]]
_PACKING, _OFFSETS, _LENGTHS = 259, 273, 279
DEFLATE = 8


def tiff(  # noqa: PLR0913, PLR0917 - a TIFF file has as many
    samples: Numbers,
    bits: int,
    photometric: int = 1,
    sample_format: int = 1,
    packing: int = 1,
    order: str = "<",
    extra: int | None = None,
    planes: int = 1,
    more: TagValues | None = None,
) -> bytes:
    """A TIFF file of one strip, or of one for each plane.

    Args:
        samples: height x width, or height x width x samples of a pixel; of the type that is written, but for 1, 2, 4
            and 12 bits, which are packed here.
        bits: of each sample.
        photometric, sample_format, packing, extra, planes: the tags; only 1 (none) and 8 (Deflate) are packed.
        order: "<" or ">".
        more: further tags: type and values of each.
    """
    height, width, count = *samples.shape[:2], samples.shape[2] if samples.ndim == 3 else 1
    parts = [samples[..., plane] for plane in range(count)] if planes == 2 else [samples]
    strips = [_packed(part.reshape(height, -1), bits, order) for part in parts]
    if packing == DEFLATE:
        strips = [zlib.compress(strip) for strip in strips]
    tags: dict[int, tuple[int, Sequence[float]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * count),
        _PACKING: (3, [packing]),
        262: (3, [photometric]),
        _OFFSETS: (4, [0] * len(strips)),
        277: (3, [count]),
        278: (4, [height]),
        _LENGTHS: (4, [len(strip) for strip in strips]),
        284: (3, [planes]),
        339: (3, [sample_format] * count),
        **({338: (3, [extra])} if extra is not None else {}),
        **(more or {}),
    }
    return _with_directory(tags, strips, order)


def _with_directory(tags: dict[int, tuple[int, Sequence[float]]], strips: list[bytes], order: str) -> bytes:
    def written(kind: int, values: Sequence[float]) -> bytes:
        return struct.pack(f"{order}{len(values)}{_TYPES[kind]}", *values)

    after = 8 + 2 + 12 * len(tags) + 4
    pixels_at = after + sum(len(raw) + len(raw) % 2 for raw in (written(*tag) for tag in tags.values()) if len(raw) > 4)
    lengths = np.cumsum([0, *map(len, strips)])[:-1]
    tags[_OFFSETS] = (4, [int(pixels_at + start) for start in lengths])
    entries = elsewhere = b""
    for tag, (kind, values) in sorted(tags.items()):
        raw = written(kind, values)
        entries += struct.pack(order + "HHI", tag, kind, len(values))
        if len(raw) <= 4:
            entries += raw.ljust(4, b"\0")
        else:
            entries += struct.pack(order + "I", after + len(elsewhere))
            elsewhere += raw + b"\0" * (len(raw) % 2)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(tags))
    return start + entries + bytes(4) + elsewhere + b"".join(strips)


def _packed(rows: Numbers, bits: int, order: str) -> bytes:
    if bits % 8:
        return b"".join(_packed_row(row, bits) for row in rows)
    return rows.astype(rows.dtype.newbyteorder("<" if order == "<" else ">")).tobytes()


def _packed_row(row: Numbers, bits: int) -> bytes:
    digits = "".join(f"{int(value):0{bits}b}" for value in row)
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8)


def png(samples: Numbers, bits: int, colours: int, transparent: Sequence[int] = ()) -> bytes:
    """A PNG file; `samples` are height x width, or height x width x samples of a pixel, and whole numbers."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    lines = [row.astype(">u2").tobytes() if bits == 16 else _packed_row(row, bits) for row in rows]
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    keyed = _chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines))
    chunks = _chunk(b"IHDR", header) + keyed + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bmp(
    numbers: NDArray[np.uint32],
    bits: int,
    masks: Sequence[int],
    header_size: int = 108,
    packing: int = 3,
    top_down: bool = False,
) -> bytes:
    """A BMP file of bit fields: `numbers` are the pixels, height x width, of 16, 24 or 32 bits."""
    height, width = numbers.shape
    stride = (width * bits + 31) // 32 * 4
    rows = numbers if top_down else numbers[::-1]
    as_bytes = rows.astype("<u4").copy().view(np.uint8).reshape(height, width, 4)[..., : bits // 8]
    pixels = b"".join(row.tobytes().ljust(stride, b"\0") for row in as_bytes)
    signed_height = -height if top_down else height
    fields = struct.pack("<IiiHHIIiiII", header_size, width, signed_height, 1, bits, packing, len(pixels), 0, 0, 0, 0)
    fields += b"".join(struct.pack("<I", mask) for mask in masks)
    fields = fields.ljust(header_size, b"\0")
    start = 14 + len(fields)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + fields + pixels
