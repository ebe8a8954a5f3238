"""Writes image files of kinds that Pillow reads but does not write: TIFF, PNG and BMP, from numbers."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.tiff_files import Layout, Numbers, TagValues, packed_row, write


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
    layout = Layout(order, packing, planes=planes)
    tags = {**({338: (3, [extra])} if extra is not None else {}), **(more or {})}
    return write(samples, bits, photometric, sample_format, layout, tags)


def png(samples: Numbers, bits: int, colours: int, transparent: Sequence[int] = ()) -> bytes:
    """A PNG file; `samples` are height x width, or height x width x samples of a pixel, and whole numbers."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    lines = [row.astype(">u2").tobytes() if bits == 16 else packed_row(row, bits) for row in rows]
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
