"""Writes image files of kinds that Pillow reads but does not write: TIFF, PNG and BMP, from numbers."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.tiff_files import Layout, Numbers, TagValues, packed_row, write

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Pillow unpacks it in Python, a run at a time, which takes more than a second.
ENDLESS_BMP = (
    b"BM"
    + (54 + 1024 + 8_000_000).to_bytes(4, "little")
    + bytes(4)
    + (54 + 1024).to_bytes(4, "little")
    + (40).to_bytes(4, "little")
    + (4000).to_bytes(4, "little")
    + (4000).to_bytes(4, "little")
    + (1).to_bytes(2, "little")
    + (8).to_bytes(2, "little")
    + (1).to_bytes(4, "little")
    + bytes(20 + 1024)
    + b"\x01\x00" * 4_000_000
)


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
    """A TIFF file of one strip, or of one for each plane; see `tiff_files.write`.

    `photometric`, `sample_format`, `packing`, `extra` and `planes` are the numbers of its tags, `more` further tags.
    """
    layout = Layout(order, packing, planes=planes)
    tags = {**({338: (3, [extra])} if extra is not None else {}), **(more or {})}
    return write(samples, bits, photometric, sample_format, layout, tags)


@dataclass(frozen=True)
class PngLayout:
    """How a PNG file is laid out, whatever it holds.

    Attributes:
        is_interlaced: whether it comes in the seven passes of Adam7.
        filter: of each row, 0 to 4.
        piece: bytes of each IDAT chunk; 0: all in one.
        before, after: whole chunks, before and behind the image data; see `chunk`.
    """

    is_interlaced: bool = False
    filter: int = 0
    piece: int = 0
    before: bytes = b""
    after: bytes = b""


# Of each pass of Adam7: the first row and column, and the steps to the next.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png(
    samples: Numbers,
    bits: int,
    colours: int,
    transparent: Sequence[int] = (),
    palette: bytes = b"",
    layout: PngLayout = PngLayout(),
) -> bytes:
    """A PNG file; `samples` are height x width, or height x width x samples of a pixel, and whole numbers.

    `transparent` are the numbers of tRNS, of 16 bits each, or of 8 where there is a palette.
    """
    height, width = samples.shape[:2]
    samples = samples.reshape(height, width, -1)
    passes = _ADAM7 if layout.is_interlaced else ((0, 0, 1, 1),)
    parts = [samples[top::down, left::across] for top, left, down, across in passes]
    raw = b"".join(_filtered(part, bits, layout.filter) for part in parts if part.size)
    packed = zlib.compress(raw)
    piece = layout.piece or len(packed)
    chunks = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, layout.is_interlaced))]
    chunks += [chunk(b"PLTE", palette)] if palette else []
    if transparent:
        kind = "B" if palette else "H"
        chunks.append(chunk(b"tRNS", struct.pack(f">{len(transparent)}{kind}", *transparent)))
    image = [chunk(b"IDAT", packed[at : at + piece]) for at in range(0, len(packed), piece)]
    return b"".join([PNG_SIGNATURE, *chunks, layout.before, *image, layout.after, chunk(b"IEND", b"")])


def _filtered(part: Numbers, bits: int, number: int) -> bytes:
    """The rows of a pass, each with its filter's number before it."""
    step = max(1, part.shape[2] * bits // 8)
    lines, above = [], b""
    for row in part:
        raw = packed_row(row.ravel().astype(">u2" if bits == 16 else row.dtype), bits)
        up = np.frombuffer(above or bytes(len(raw)), np.uint8).astype(int)
        here = np.frombuffer(raw, np.uint8).astype(int)
        left, corner = (np.concatenate([np.zeros(step, int), line])[: len(line)] for line in (here, up))
        guess = (np.zeros_like(here), left, up, (left + up) // 2, _paeth(left, up, corner))[number]
        lines.append(bytes([number]) + (here - guess).astype(np.uint8).tobytes())
        above = raw
    return b"".join(lines)


def _paeth(left: Numbers, up: Numbers, corner: Numbers) -> Numbers:
    far_left, far_up, far_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    nearest = np.where(far_up <= far_corner, up, corner)
    return np.where((far_left <= far_up) & (far_left <= far_corner), left, nearest)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
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


def palette_bmp(places: Numbers, bits: int, colours: NDArray[np.uint8], header_size: int, is_packed: bool) -> bytes:
    """A BMP file of a palette: `places`, height x width, of 1, 4 or 8 bits, of the rows of `colours`.

    With `is_packed` it comes in runs (RLE4, RLE8).
    """
    height, width = places.shape
    if is_packed:
        pixels = b"".join(_runs(row, bits) + b"\0\0" for row in places[::-1]) + b"\0\1"
    else:
        rows = [packed_row(row, bits) for row in places[::-1]]
        pixels = b"".join(row + bytes(-len(row) % 4) for row in rows)
    blue_first = colours[:, ::-1]
    if header_size == 12:
        fields, table = struct.pack("<IHHHH", 12, width, height, 1, bits), blue_first.tobytes()
    else:
        packing = {4: 2, 8: 1}[bits] if is_packed else 0
        fields = struct.pack("<IiiHHIIiiII", header_size, width, height, 1, bits, packing, len(pixels), 0, 0, 0, 0)
        table = np.pad(blue_first, ((0, 0), (0, 1))).tobytes()
    fields = fields.ljust(header_size, b"\0")
    start = 14 + len(fields) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + fields + table + pixels


def _runs(row: Numbers, bits: int) -> bytes:
    """Each run of equal pixels; in RLE4 a byte holds two of them."""
    edges = np.flatnonzero(np.diff(row)) + 1
    runs = [(len(run), int(run[0])) for run in np.split(row, edges)]
    return b"".join(bytes([length, place * 17 if bits == 4 else place]) for length, place in runs)
