"""Tells a TIFF file, and reads what it says of its samples: TIFF 6.0, and BigTIFF.

Only the first directory is looked at, within bounds; all else is left to the decoder.
"""

import math
import struct
from dataclasses import dataclass, field

from model.images.formats.header import Header, Unusual
from model.images.formats.samples import FLOATING, SIGNED, UNSIGNED, Samples
from model.images.formats.tiff_directory import entries, order_of, rewritten

FORMAT = "TIFF"
# As Pillow has them: two programs write the number the wrong way round.
_SIGNATURES = tuple(
    order + number
    for order in (b"II", b"MM")
    for number in (b"\x2a\x00", b"\x00\x2a", b"\x2b\x00", b"\x00\x2b")
    if (order, number) not in ((b"II", b"\x00\x2b"), (b"MM", b"\x2b\x00"))
)
_MOST_VALUES = 16
# Tags that say what samples are hold short numbers.
_GREATEST_NUMBER = 65535
BITS, PACKING, PHOTOMETRIC, BIT_ORDER, COUNT, PLANES = 258, 259, 262, 266, 277, 284
EXTRA, KIND, _LEAST, _GREATEST = 338, 339, 340, 341
_TAGS = (BITS, PACKING, PHOTOMETRIC, BIT_ORDER, COUNT, PLANES, EXTRA, KIND, _LEAST, _GREATEST)
_NOT_PACKED, _LOWEST_FIRST, _APART = 1, 2, 2
# How the numbers of a tag are written: byte, short, long, signed ones, floating-point ones, and BigTIFF's longer ones.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q", 17: "q"}
_KINDS = {1: UNSIGNED, 2: SIGNED, 3: FLOATING}
_WHITE_IS_ZERO, BLACK_IS_ZERO, _RGB, _PALETTE = 0, 1, 2, 3
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
# Of those whose planes are put together here: how many samples a colour has, and Pillow's mode by what the extra sample
# is: none or unspecified, alpha by which colours are already multiplied, alpha.
_IN_PLANES = {"RGB": (3, ("RGB", "RGBa", "RGBA")), "CMYK": (4, ("CMYK",)), "grey": (1, ("L", "La", "LA"))}
_TOGETHER_IN_PILLOW = ("RGB", "CMYK", "YCbCr")
_ALPHA, _COREL_DRAW_ALPHA = 2, 999
_PACKINGS = {34661: "JBIG", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}


@dataclass(frozen=True, slots=True)
class Tags:
    """What the tags of a directory say of its samples.

    Attributes:
        values: the numbers of the tags; empty where they can't be read.
    """

    values: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def first(self, tag: int, default: int) -> int:
        """The first number of a tag; the default where it has none that such a tag may have."""
        number = self.values.get(tag, (default,))[0]
        return int(number) if 0 <= number <= _GREATEST_NUMBER else default

    def samples(self) -> Samples:
        """What the samples of a grey image are."""
        kind = _KINDS.get(self.first(KIND, 1), UNSIGNED)
        stated = None
        if kind != UNSIGNED and _LEAST in self.values and _GREATEST in self.values:
            least, greatest = self.values[_LEAST][0], self.values[_GREATEST][0]
            if math.isfinite(least) and math.isfinite(greatest) and least < greatest:
                stated = (least, greatest)
        is_inverted = self.first(PHOTOMETRIC, 1) == _WHITE_IS_ZERO
        return Samples(self.first(BITS, 1), kind, is_inverted, stated)

    def is_readable(self) -> bool:
        """Tell whether the pixels are packed, and laid out, in a way that can be read."""
        is_packed_well = self.first(PACKING, _NOT_PACKED) in _READABLE
        is_in_order = self._is_in_order() or self._is_read_reversed()
        return is_packed_well and is_in_order and self._is_laid_out_well()

    def mode_of_planes(self) -> str | None:
        """Tell what planes make together that are read one by one, as a mode of Pillow's.

        None where samples lie together, Pillow itself puts them together, or they can't be read.
        """
        if not self._is_apart() or self._is_put_together_by_pillow():
            return None
        bits, kinds = set(self.values.get(BITS, (1,))), set(self.values.get(KIND, (1,)))
        number, count = self.first(PHOTOMETRIC, BLACK_IS_ZERO), self.first(COUNT, 1)
        needed, modes = _IN_PLANES.get(_COLOURS.get(number, ""), (0, ()))
        extra, which = self.values.get(EXTRA, ()), self.first(EXTRA, 0)
        if number == _RGB and count == 4 and extra in ((), (_COREL_DRAW_ALPHA,)):
            extra, which = (_ALPHA,), _ALPHA
        is_known = bits in ({8}, {16}) and kinds == {1} and number != _WHITE_IS_ZERO
        if not is_known or count != needed + len(extra) or any(extra[1:]):
            return None
        return modes[which] if which < len(modes) else None

    def _is_in_order(self) -> bool:
        """Whether bytes begin with their highest bit; those of fax machines may not."""
        return self.first(BIT_ORDER, 1) != _LOWEST_FIRST

    def _is_read_reversed(self) -> bool:
        """Whether Pillow reads such samples rightly where bytes begin with their lowest bit."""
        colours, bits, count = self.first(PHOTOMETRIC, 1), self.first(BITS, 1), self.first(COUNT, 1)
        is_packed = self.first(PACKING, _NOT_PACKED) != _NOT_PACKED
        if self.first(KIND, 1) != 1 or count not in (1, 3):
            return False
        if count == 3:
            return _COLOURS.get(colours) == "RGB" and bits == 8
        if colours == _PALETTE:
            return bits == 8 or (is_packed and bits < 8)
        if colours == _WHITE_IS_ZERO:
            return bits in (1, 2, 4) or (is_packed and bits == 8)
        return _COLOURS.get(colours) == "grey" and bits in (1, 2, 4, 8, 16)

    def _is_apart(self) -> bool:
        return self.first(PLANES, 1) == _APART and self.first(COUNT, 1) != 1

    def _is_put_together_by_pillow(self) -> bool:
        """Tell whether Pillow puts planes together rightly, as it does where libtiff unpacks them."""
        is_packed = self.first(PACKING, _NOT_PACKED) != _NOT_PACKED
        return is_packed and _COLOURS.get(self.first(PHOTOMETRIC, 1)) in _TOGETHER_IN_PILLOW

    def _is_laid_out_well(self) -> bool:
        return not self._is_apart() or self._is_put_together_by_pillow() or self.mode_of_planes() is not None

    def described(self) -> str:
        """What the file holds, such as "grey with 1 64-bit floating-point sample a pixel"."""
        number = self.first(PACKING, _NOT_PACKED)
        if number not in _READABLE:
            return f"pixels packed as {_PACKINGS.get(number, f'compression {number}')}"
        order = "" if self._is_in_order() else ", in reversed bit order"
        apart = ", each in a plane of its own" if not self._is_laid_out_well() else ""
        number = self.first(PHOTOMETRIC, 1)
        kind = _KINDS.get(self.first(KIND, 1), "complex or undefined")
        count = self.first(COUNT, 1)
        return (
            f"{_COLOURS.get(number, f'colours of kind {number}')} with {count} "
            f"{self.first(BITS, 1)}-bit {kind} sample{'s' if count != 1 else ''} a pixel{apart}{order}"
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
    order = order_of(data)
    try:
        return Tags(
            {
                tag: struct.unpack_from(f"{order}{min(entry.count, _MOST_VALUES)}{_TYPES[entry.kind]}", data, entry.at)
                for tag, entry in entries(data)
                if tag in _TAGS and entry.kind in _TYPES and entry.count
            }
        )
    except struct.error:
        return Tags()


def as_pillow_reads_it(data: bytes) -> bytes:
    """Give a big-endian BigTIFF, which Pillow takes for another kind of file, a directory in the classic form."""
    return rewritten(data) if data.startswith(b"MM\x00\x2b") else data
