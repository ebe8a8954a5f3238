"""TIFF files, and EXIF data, tag by tag: also such as no program would write."""

import struct
from collections.abc import Mapping, Sequence

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
SIZES = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, UNDEFINED: 1, LONG8: 8}
_CODES = {BYTE: "B", SHORT: "H", LONG: "L", LONG8: "Q"}

Value = Sequence[int] | bytes | tuple[int, int]
Tags = Mapping[int, tuple[int, Value]]
# Where the data begin that `tiff` writes.
DATA_AT, BIG_DATA_AT = 8, 16


def tiff(tags: Tags, data: bytes = b"", big: bool = False, following: int = 0) -> bytes:
    """A file of one directory, little-endian; the data come first, so that tags can point at them.

    Args:
        tags: tag → type and value: numbers in a list, bytes as they are, or, as a tuple, a count and an offset.
        data: begin at `DATA_AT`, or `BIG_DATA_AT`.
        big: as BigTIFF.
        following: the offset of the next directory.
    """
    at = (BIG_DATA_AT if big else DATA_AT) + len(data)
    inline, offset, count_of = (8, "Q", "Q") if big else (4, "L", "H")
    entries, payloads = [], []
    for tag, (kind, value) in sorted(tags.items()):
        if isinstance(value, tuple):
            count, stored = value[0], struct.pack("<" + offset, value[1])
        else:
            raw = value if isinstance(value, bytes) else struct.pack(f"<{len(value)}{_CODES[kind]}", *value)
            count, stored = len(raw) // SIZES[kind], raw.ljust(inline, b"\0")
            if len(raw) > inline:
                stored = struct.pack("<" + offset, at)
                payloads.append(raw + b"\0" * (len(raw) % 2))
                at += len(payloads[-1])
        entries.append(struct.pack("<HH" + offset, tag, kind, count) + stored)
    header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, at) if big else struct.pack("<2sHL", b"II", 42, at)
    directory = struct.pack("<" + count_of, len(entries)) + b"".join(entries) + struct.pack("<" + offset, following)
    return header + data + b"".join(payloads) + directory
