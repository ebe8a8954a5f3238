"""Tells a TIFF file, and reads what it says of its samples: TIFF 6.0, and BigTIFF.

Only the first directory is looked at, within bounds; all else is left to the decoder.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from model.formats.header import Header, Unusual
from model.samples import FLOATING, SIGNED, UNSIGNED, Samples

FORMAT = "TIFF"
# As Pillow has them: two programs write the number the wrong way round.
_SIGNATURES = tuple(
    order + number
    for order in (b"II", b"MM")
    for number in (b"\x2a\x00", b"\x00\x2a", b"\x2b\x00", b"\x00\x2b")
    if (order, number) not in ((b"II", b"\x00\x2b"), (b"MM", b"\x2b\x00"))
)
_MOST_ENTRIES, _MOST_VALUES = 512, 16
# Tags that say what samples are hold short numbers.
_GREATEST_NUMBER = 65535
_BITS, _PACKING, _PHOTOMETRIC, _BIT_ORDER, _COUNT, _PLANES = 258, 259, 262, 266, 277, 284
_EXTRA, _KIND, _LEAST, _GREATEST = 338, 339, 340, 341
_TAGS = (_BITS, _PACKING, _PHOTOMETRIC, _BIT_ORDER, _COUNT, _PLANES, _EXTRA, _KIND, _LEAST, _GREATEST)
_NOT_PACKED, _LOWEST_FIRST, _APART, _MULTIPLIED = 1, 2, 2, 1
# How the numbers of a tag are written: byte, short, long, signed ones, floating-point ones, and BigTIFF's longer ones.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q", 17: "q"}
_KINDS = {1: UNSIGNED, 2: SIGNED, 3: FLOATING}
_WHITE_IS_ZERO, _PALETTE = 0, 3
_COLOURS = {
    0: "grey",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIE Lab",
    9: "ICC Lab",
    10: "ITU Lab",
    32803: "raw camera",
    32844: "LogL",
    32845: "LogLuv",
    34892: "raw camera",
}
# Those that the library in Pillow's wheel unpacks.
_READABLE = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000})
_PACKINGS = {34661: "JBIG", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}


@dataclass(frozen=True, slots=True)
class Tags:
    """What the tags of a directory say of its samples.

    Attributes:
        values: the numbers of the tags; empty where they can't be read.
        is_big_endian_bigtiff: a kind of file that Pillow takes for another.
    """

    values: dict[int, tuple[float, ...]] = field(default_factory=dict)
    is_big_endian_bigtiff: bool = False

    def first(self, tag: int, default: int) -> int:
        """The first number of a tag; the default where it has none that such a tag may have."""
        number = self.values.get(tag, (default,))[0]
        return int(number) if 0 <= number <= _GREATEST_NUMBER else default

    def samples(self) -> Samples:
        """What the samples of a grey image are."""
        kind = _KINDS.get(self.first(_KIND, 1), UNSIGNED)
        stated = None
        if kind != UNSIGNED and _LEAST in self.values and _GREATEST in self.values:
            least, greatest = self.values[_LEAST][0], self.values[_GREATEST][0]
            if math.isfinite(least) and math.isfinite(greatest) and least < greatest:
                stated = (least, greatest)
        is_inverted = self.first(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO
        return Samples(self.first(_BITS, 1), kind, is_inverted, stated)

    def is_readable(self) -> bool:
        """Whether the pixels are packed, and laid out, in a way that can be read."""
        is_packed_well = self.first(_PACKING, _NOT_PACKED) in _READABLE
        is_in_order = self._is_in_order() or self._is_read_reversed()
        return is_packed_well and is_in_order and self._is_laid_out_well() and not self.is_big_endian_bigtiff

    def _is_in_order(self) -> bool:
        """Whether bytes begin with their highest bit; those of fax machines may not."""
        return self.first(_BIT_ORDER, 1) != _LOWEST_FIRST

    def _is_read_reversed(self) -> bool:
        """Whether Pillow reads such samples rightly where bytes begin with their lowest bit."""
        colours, bits, count = self.first(_PHOTOMETRIC, 1), self.first(_BITS, 1), self.first(_COUNT, 1)
        is_packed = self.first(_PACKING, _NOT_PACKED) != _NOT_PACKED
        if self.first(_KIND, 1) != 1 or count not in (1, 3):
            return False
        if count == 3:
            return _COLOURS.get(colours) == "RGB" and bits == 8
        if colours == _PALETTE:
            return bits == 8 or (is_packed and bits < 8)
        if colours == _WHITE_IS_ZERO:
            return bits in (1, 2, 4) or (is_packed and bits == 8)
        return _COLOURS.get(colours) == "grey" and bits in (1, 2, 4, 8, 16)

    def _is_laid_out_well(self) -> bool:
        """Whether samples lie together, or apart in a way that Pillow puts together rightly."""
        if self.first(_PLANES, 1) != _APART or self.first(_COUNT, 1) == 1:
            return True
        colours = _COLOURS.get(self.first(_PHOTOMETRIC, 1))
        if self.first(_PACKING, _NOT_PACKED) != _NOT_PACKED:
            return colours in ("RGB", "CMYK", "YCbCr")
        is_plain = self.first(_BITS, 8) == 8 and self.first(_EXTRA, 0) != _MULTIPLIED
        return is_plain and colours in ("RGB", "CMYK")

    def described(self) -> str:
        """What the file holds, such as "grey with 1 64-bit floating-point sample a pixel"."""
        number = self.first(_PACKING, _NOT_PACKED)
        if self.is_big_endian_bigtiff:
            return "a big-endian BigTIFF"
        if number not in _READABLE:
            return f"pixels packed as {_PACKINGS.get(number, f'compression {number}')}"
        order = "" if self._is_in_order() else ", in reversed bit order"
        apart = ", each in a plane of its own" if not self._is_laid_out_well() else ""
        number = self.first(_PHOTOMETRIC, 1)
        kind = _KINDS.get(self.first(_KIND, 1), "complex or undefined")
        count = self.first(_COUNT, 1)
        return (
            f"{_COLOURS.get(number, f'colours of kind {number}')} with {count} "
            f"{self.first(_BITS, 1)}-bit {kind} sample{'s' if count != 1 else ''} a pixel{apart}{order}"
        )


def is_format(data: bytes) -> bool:
    """Tell a TIFF file by its first bytes."""
    return data.startswith(_SIGNATURES)


def read(_data: bytes) -> Header:
    """Leave the file to its decoder: tags, strips and a dozen ways of packing can each be made to cost anything.

    Raises:
        Unusual: always.
    """
    raise Unusual


def tags_of(data: bytes) -> Tags:
    """Read the tags of the first directory that say what samples are."""
    is_foreign = data.startswith(b"MM\x00\x2b")
    try:
        return Tags({tag: values for tag, values in _entries(data) if values}, is_foreign)
    except struct.error:
        return Tags(is_big_endian_bigtiff=is_foreign)


def _entries(data: bytes) -> Iterator[tuple[int, tuple[float, ...]]]:
    order = "<" if data.startswith(b"II") else ">"
    is_big = b"\x2b" in data[2:4]
    # Where the directory is; how many entries it has; tag, type and number of an entry; the place of its values.
    place, number, entry = ("Q", "Q", "HHQ") if is_big else ("I", "H", "HHI")
    [directory] = struct.unpack_from(order + place, data, 8 if is_big else 4)
    [entries] = struct.unpack_from(order + number, data, directory)
    at = directory + struct.calcsize(order + number)
    head, room = struct.calcsize(order + entry), struct.calcsize(order + place)
    for _ in range(min(entries, _MOST_ENTRIES)):
        tag, kind, count = struct.unpack_from(order + entry, data, at)
        if tag in _TAGS and kind in _TYPES:
            form = f"{order}{min(count, _MOST_VALUES)}{_TYPES[kind]}"
            is_here = count * struct.calcsize(order + _TYPES[kind]) <= room
            [where] = (at + head,) if is_here else struct.unpack_from(order + place, data, at + head)
            yield tag, struct.unpack_from(form, data, where)
        at += head + room
