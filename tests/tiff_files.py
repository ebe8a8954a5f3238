"""Writes TIFF files of every layout, from numbers: TIFF 6.0, Adobe's Technical Notes 1 and 3, BigTIFF."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
# struct's letters of TIFF's types: byte, short, long, signed ones, float, double, BigTIFF's long.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}
TagValues = Mapping[int, tuple[int, Sequence[float]]]
PLAIN, LZW, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 8, 32946, 32773
NONE, DIFFERENCES, FLOATING = 1, 2, 3
_CLEAR, _END = 256, 257
# After so many codes of 9 bits the table of an LZW reader would need 10.
_CODES = 250
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Layout:
    """How a TIFF file is laid out, whatever it holds.

    Attributes:
        order: "<" or ">".
        packing: the tag Compression.
        predictor: the tag Predictor: NONE, DIFFERENCES of samples, or FLOATING (Technical Note 3).
        planes: 1: the samples of a pixel stand together; 2: each in a plane of its own.
        tile: the side of the tiles, a multiple of 16; 0: strips.
        rows: of each strip; 0: all in one.
        is_big: whether it is a BigTIFF.
        fill_order: 2: the lowest bit of a byte comes first.
    """

    order: str = "<"
    packing: int = PLAIN
    predictor: int = NONE
    planes: int = 1
    tile: int = 0
    rows: int = 0
    is_big: bool = False
    fill_order: int = 1


def write(
    samples: Numbers,
    bits: int,
    photometric: int,
    sample_format: int = 1,
    layout: Layout = Layout(),
    more: TagValues | None = None,
) -> bytes:
    """A TIFF file of one picture.

    Args:
        samples: height x width, or height x width x samples of a pixel; of the type that is written, but for 1, 2, 4
            and 12 bits, which are packed here.
        bits: of each sample.
        photometric, sample_format: the tags.
        layout: how they are laid out.
        more: further tags: type and values of each.
    """
    samples = samples.reshape(*samples.shape[:2], -1)
    height, width, count = samples.shape
    parts = [samples[..., plane : plane + 1] for plane in range(count)] if layout.planes == 2 else [samples]
    blocks = [_block(block, bits, layout) for part in parts for block in _cut(part, layout)]
    tags: dict[int, tuple[int, Sequence[float]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * count),
        259: (3, [layout.packing]),
        262: (3, [photometric]),
        277: (3, [count]),
        284: (3, [layout.planes]),
        339: (3, [sample_format] * count),
        **({266: (3, [layout.fill_order])} if layout.fill_order != 1 else {}),
        **({317: (3, [layout.predictor])} if layout.predictor != NONE else {}),
        **({322: (3, [layout.tile]), 323: (3, [layout.tile])} if layout.tile else {278: (4, [layout.rows or height])}),
        **(more or {}),
    }
    return _with_directory(tags, blocks, layout)


def _cut(part: Numbers, layout: Layout) -> list[Numbers]:
    """The strips or tiles, each rows x columns x samples."""
    height, width, _ = part.shape
    if not layout.tile:
        rows = layout.rows or height
        return [part[top : top + rows] for top in range(0, height, rows)]
    side = layout.tile
    padded = np.pad(part, ((0, -height % side), (0, -width % side), (0, 0)), "edge")
    tops, lefts = range(0, height, side), range(0, width, side)
    return [padded[top : top + side, left : left + side] for top in tops for left in lefts]


def _block(block: Numbers, bits: int, layout: Layout) -> bytes:
    if layout.predictor == FLOATING:
        rows = [_floating_row(row) for row in block]
    else:
        if layout.predictor == DIFFERENCES:
            as_whole = block.view(f"u{block.dtype.itemsize}")
            block = np.concatenate([as_whole[:, :1], as_whole[:, 1:] - as_whole[:, :-1]], 1)
        rows = [packed_row(row.ravel(), bits, layout.order) for row in block]
    raw = b"".join(_packbits(row) for row in rows) if layout.packing == PACKBITS else b"".join(rows)
    if layout.packing in (DEFLATE, OLD_DEFLATE):
        raw = zlib.compress(raw)
    elif layout.packing == LZW:
        raw = _lzw(raw)
    return raw.translate(_REVERSED) if layout.fill_order == 2 else raw


def packed_row(row: Numbers, bits: int, order: str = ">") -> bytes:
    """The bytes of a row of samples, padded to a whole one."""
    if bits % 8 == 0:
        return row.astype(row.dtype.newbyteorder("<" if order == "<" else ">")).tobytes()
    digits = row[:, np.newaxis].astype(np.uint64) >> np.arange(bits - 1, -1, -1, dtype=np.uint64) & np.uint64(1)
    return np.packbits(digits.astype(np.uint8)).tobytes()


def _floating_row(row: Numbers) -> bytes:
    """The bytes of a row of columns x samples, the highest of all first, then differences between neighbours."""
    size, count = row.dtype.itemsize, row.shape[1]
    spread = row.astype(row.dtype.newbyteorder(">")).view(np.uint8).reshape(-1, size).T.ravel()
    spread[count:] -= spread[:-count].copy()
    return spread.tobytes()


def _packbits(row: bytes) -> bytes:
    """Literal runs alone."""
    pieces = [row[at : at + 128] for at in range(0, len(row), 128)]
    return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)


def _lzw(raw: bytes) -> bytes:
    """Single bytes alone, the table cleared before it grows."""
    codes: list[int] = []
    for at in range(0, len(raw), _CODES):
        codes += [_CLEAR, *raw[at : at + _CODES]]
    return packed_row(np.array([*codes, _END]), 9)


def _with_directory(tags: dict[int, tuple[int, Sequence[float]]], blocks: list[bytes], layout: Layout) -> bytes:
    order = layout.order
    place, number, room = ("Q", "Q", 8) if layout.is_big else ("I", "H", 4)
    start = {"<": b"II", ">": b"MM"}[order] + (
        struct.pack(order + "HHHQ", 43, 8, 0, 16) if layout.is_big else struct.pack(order + "HI", 42, 8)
    )
    offsets, lengths = (324, 325) if layout.tile else (273, 279)
    long = 16 if layout.is_big else 4
    tags |= {offsets: (long, [0] * len(blocks)), lengths: (long, [len(block) for block in blocks])}

    def written(kind: int, values: Sequence[float]) -> bytes:
        return struct.pack(f"{order}{len(values)}{_TYPES[kind]}", *values)

    after = len(start) + struct.calcsize(order + number) + (4 + 2 * room) * len(tags) + room
    outside = [raw for raw in (written(*tag) for tag in tags.values()) if len(raw) > room]
    pixels_at = after + sum(len(raw) + len(raw) % 2 for raw in outside)
    places = np.cumsum([pixels_at, *(len(block) + len(block) % 2 for block in blocks)])[:-1]
    tags[offsets] = (long, places.tolist())
    entries = elsewhere = b""
    for tag, (kind, values) in sorted(tags.items()):
        raw = written(kind, values)
        entries += struct.pack(order + "HH" + place, tag, kind, len(values))
        if len(raw) <= room:
            entries += raw.ljust(room, b"\0")
        else:
            entries += struct.pack(order + place, after + len(elsewhere))
            elsewhere += raw + b"\0" * (len(raw) % 2)
    pixels = b"".join(block + b"\0" * (len(block) % 2) for block in blocks)
    return start + struct.pack(order + number, len(tags)) + entries + bytes(room) + elsewhere + pixels
