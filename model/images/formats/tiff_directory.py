"""Reads and rewrites the first directory of a TIFF file (TIFF 6.0, BigTIFF).

A rewritten directory follows the file's own bytes. It has the classic form, the file's byte order, and only the tags
that pixels depend on. With it, Pillow can read a big-endian BigTIFF, and a single plane of several.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MOST_ENTRIES = 512
_BIG = b"\x2b"
_LONG, _LONG8 = 4, (16, 17)
# The bytes of a value of each type, and the integer types as numpy writes them.
_SIZES = {1: 1, 2: 1, 3: 2, _LONG: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}
_INTEGERS = {1: "u1", 3: "u2", _LONG: "u4", 16: "u8", 17: "u8"}
# Size and colours, strips and tiles, samples, tables for JPEG, YCbCr; and XMP, which may have the orientation.
_PIXEL_TAGS = frozenset({
    *(256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338, 339),
    *(340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700),
})  # fmt: skip


class Tag(IntEnum):
    """The tags that describe the samples of an image."""

    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    SAMPLES_PER_PIXEL = 277
    PLANAR_CONFIGURATION = 284
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    SMIN_SAMPLE_VALUE = 340
    SMAX_SAMPLE_VALUE = 341


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a directory.

    Attributes:
        kind: the type of its values, as TIFF numbers it.
        count: the number of values.
        at: the position of the values in the file.
    """

    kind: int
    count: int
    at: int


def order_of(data: bytes) -> str:
    """Return the byte order of the file's numbers, as struct and numpy write it."""
    return "<" if data.startswith(b"II") else ">"


def entries(data: bytes) -> Iterator[tuple[int, Entry]]:
    """Yield the entries of the first directory, each after its tag, up to `MOST_ENTRIES`.

    Raises:
        struct.error: the file is cut off.
    """
    order = order_of(data)
    is_big = _BIG in data[2:4]
    # Formats of: the position of the directory or of values, the number of entries, and an entry's tag, type and count.
    place, number, entry = ("Q", "Q", "HHQ") if is_big else ("I", "H", "HHI")
    [directory] = struct.unpack_from(order + place, data, 8 if is_big else 4)
    [length] = struct.unpack_from(order + number, data, directory)
    at = directory + struct.calcsize(order + number)
    head, room = struct.calcsize(order + entry), struct.calcsize(order + place)
    for _ in range(min(length, MOST_ENTRIES)):
        tag, kind, count = struct.unpack_from(order + entry, data, at)
        if kind in _SIZES:
            is_here = count * _SIZES[kind] <= room
            [where] = (at + head,) if is_here else struct.unpack_from(order + place, data, at + head)
            yield tag, Entry(kind, count, where)
        at += head + room


def read_integers(data: bytes, tag: int) -> NDArray[np.uint64] | None:
    """Read all numbers of a tag; None where it is missing, or its numbers are not integers."""
    for found, entry in entries(data):
        if found == tag and entry.kind in _INTEGERS:
            return np.frombuffer(_values(data, entry), order_of(data) + _INTEGERS[entry.kind]).astype(np.uint64)
    return None


def rewrite_directory(data: bytes, changes: Mapping[int, Sequence[int] | NDArray[np.uint64]] | None = None) -> bytes:
    """Return the file with a new directory in the classic form.

    Args:
        data: the file.
        changes: new numbers for some tags; a tag with an empty sequence is left out.

    Raises:
        struct.error: the file is cut off.
    """
    order, tags = order_of(data), dict[int, tuple[int, bytes]]()
    for tag, entry in entries(data):
        if tag in _PIXEL_TAGS and tag not in tags:
            kind, values = entry.kind, _values(data, entry)
            if kind in _LONG8:
                kind, values = _LONG, _as_longs(np.frombuffer(values, order + "u8"), order)
            tags[tag] = kind, values
    for tag, numbers in (changes or {}).items():
        tags[tag] = (_LONG, _as_longs(np.asarray(numbers, np.uint64), order))
    return _with_directory(data, {tag: values for tag, values in sorted(tags.items()) if values[1]})


def _with_directory(data: bytes, tags: Mapping[int, tuple[int, bytes]]) -> bytes:
    """Append a directory of these tags, each with the type and the bytes of its values, to the file's own bytes."""
    order, start = order_of(data), len(data) + len(data) % 2
    values_at = start + 2 + 12 * len(tags) + 4
    parts, outside = [struct.pack(order + "H", len(tags))], list[bytes]()
    for tag, (kind, values) in tags.items():
        parts.append(struct.pack(order + "HHI", tag, kind, len(values) // _SIZES[kind]))
        if len(values) <= 4:
            parts.append(values.ljust(4, b"\0"))
        else:
            parts.append(struct.pack(order + "I", values_at))
            outside.append(values + b"\0" * (len(values) % 2))
            values_at += len(outside[-1])
    head = data[:2] + struct.pack(order + "HI", 42, start)
    return b"".join([head, data[8:], b"\0" * (len(data) % 2), *parts, bytes(4), *outside])


def _values(data: bytes, entry: Entry) -> bytes:
    """Return the bytes of the entry's values; fewer values where the file is cut off."""
    size = _SIZES[entry.kind]
    values = data[entry.at : entry.at + entry.count * size]
    return values[: len(values) // size * size]


def _as_longs(numbers: NDArray[np.uint64], order: str) -> bytes:
    """Convert numbers to 32 bits; larger ones become the maximum, a position beyond the end of any file."""
    return numbers.clip(max=2**32 - 1).astype(order + "u4").tobytes()
