"""Recognises a TIFF file, and reads the tags that describe its samples (TIFF 6.0, BigTIFF).

Only the first directory is read, up to a maximum number of entries; the decoder reads the rest.
"""

import math
import struct
from dataclasses import dataclass, field

from model.images.formats.header import Header, Unusual
from model.images.formats.samples import FLOATING, SIGNED, UNSIGNED, Samples
from model.images.formats.tiff_directory import Tag, entries, order_of, rewrite_directory

FORMAT = "TIFF"
# The same as in Pillow: two programs write the magic number in the wrong byte order.
_SIGNATURES = tuple(
    order + number
    for order in (b"II", b"MM")
    for number in (b"\x2a\x00", b"\x00\x2a", b"\x2b\x00", b"\x00\x2b")
    if (order, number) not in ((b"II", b"\x00\x2b"), (b"MM", b"\x2b\x00"))
)
_MOST_VALUES = 16
# The tags that describe samples have 16-bit numbers.
_LARGEST_NUMBER = 65535
_SAMPLE_TAGS = frozenset(Tag)
_NO_COMPRESSION, _LOWEST_BIT_FIRST, _SEPARATE_PLANES = 1, 2, 2
# The struct code of each type of numbers: byte, short, long, the signed ones, float, double, and BigTIFF's 64-bit ones.
_STRUCT_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q", 17: "q"}
_SAMPLE_KINDS = {1: UNSIGNED, 2: SIGNED, 3: FLOATING}
_WHITE_IS_ZERO, BLACK_IS_ZERO, _RGB, _PALETTE = 0, 1, 2, 3
_COLOUR_NAMES = {
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
# The compressions that the libtiff in Pillow's wheel decompresses.
_SUPPORTED_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000})
# For colours whose planes this service combines: the number of samples of a colour, and Pillow's mode where the extra
# sample is missing or unspecified, premultiplied alpha, or alpha.
_PLANE_MODES = {"RGB": (3, ("RGB", "RGBa", "RGBA")), "CMYK": (4, ("CMYK",)), "grey": (1, ("L", "La", "LA"))}
_COMBINED_BY_PILLOW = ("RGB", "CMYK", "YCbCr")
_ALPHA, _COREL_DRAW_ALPHA = 2, 999
_COMPRESSION_NAMES = {34661: "JBIG", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}


@dataclass(frozen=True, slots=True)
class SampleTags:
    """The tags of a directory that describe its samples.

    Attributes:
        values: the numbers of each tag; empty where they can't be read.
    """

    values: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def first(self, tag: int, default: int) -> int:
        """Return the first number of a tag; the default where the tag is missing or its number is not valid."""
        number = self.values.get(tag, (default,))[0]
        return int(number) if 0 <= number <= _LARGEST_NUMBER else default

    def samples(self) -> Samples:
        """Describe the samples of a grey image."""
        kind = _SAMPLE_KINDS.get(self.first(Tag.SAMPLE_FORMAT, 1), UNSIGNED)
        stated = None
        if kind != UNSIGNED and Tag.SMIN_SAMPLE_VALUE in self.values and Tag.SMAX_SAMPLE_VALUE in self.values:
            least, greatest = self.values[Tag.SMIN_SAMPLE_VALUE][0], self.values[Tag.SMAX_SAMPLE_VALUE][0]
            if math.isfinite(least) and math.isfinite(greatest) and least < greatest:
                stated = (least, greatest)
        is_inverted = self.first(Tag.PHOTOMETRIC, 1) == _WHITE_IS_ZERO
        return Samples(self.first(Tag.BITS_PER_SAMPLE, 1), kind, is_inverted, stated)

    def is_readable(self) -> bool:
        """Tell whether compression, bit order and layout of the pixels are supported."""
        is_decompressed = self.first(Tag.COMPRESSION, _NO_COMPRESSION) in _SUPPORTED_COMPRESSIONS
        is_in_order = self._has_normal_bit_order() or self._pillow_reverses_bits()
        return is_decompressed and is_in_order and self._has_supported_layout()

    def mode_of_planes(self) -> str | None:
        """Return Pillow's mode of the image that separate planes make, where this service combines them.

        None where samples are not in separate planes, where Pillow combines the planes, or where they can't be read.
        """
        if not self._has_separate_planes() or self._is_combined_by_pillow():
            return None
        bits, kinds = set(self.values.get(Tag.BITS_PER_SAMPLE, (1,))), set(self.values.get(Tag.SAMPLE_FORMAT, (1,)))
        number, count = self.first(Tag.PHOTOMETRIC, BLACK_IS_ZERO), self.first(Tag.SAMPLES_PER_PIXEL, 1)
        needed, modes = _PLANE_MODES.get(_COLOUR_NAMES.get(number, ""), (0, ()))
        extra, which = self.values.get(Tag.EXTRA_SAMPLES, ()), self.first(Tag.EXTRA_SAMPLES, 0)
        if number == _RGB and count == 4 and extra in ((), (_COREL_DRAW_ALPHA,)):
            extra, which = (_ALPHA,), _ALPHA
        is_known = bits in ({8}, {16}) and kinds == {1} and number != _WHITE_IS_ZERO
        if not is_known or count != needed + len(extra) or any(extra[1:]):
            return None
        return modes[which] if which < len(modes) else None

    def _has_normal_bit_order(self) -> bool:
        """Tell whether a byte starts with its highest bit; files from fax machines may have the opposite order."""
        return self.first(Tag.FILL_ORDER, 1) != _LOWEST_BIT_FIRST

    def _pillow_reverses_bits(self) -> bool:
        """Tell whether Pillow reads such samples correctly where a byte starts with its lowest bit."""
        colours, bits = self.first(Tag.PHOTOMETRIC, 1), self.first(Tag.BITS_PER_SAMPLE, 1)
        count = self.first(Tag.SAMPLES_PER_PIXEL, 1)
        is_compressed = self.first(Tag.COMPRESSION, _NO_COMPRESSION) != _NO_COMPRESSION
        if self.first(Tag.SAMPLE_FORMAT, 1) != 1 or count not in (1, 3):
            return False
        if count == 3:
            return _COLOUR_NAMES.get(colours) == "RGB" and bits == 8
        if colours == _PALETTE:
            return bits == 8 or (is_compressed and bits < 8)
        if colours == _WHITE_IS_ZERO:
            return bits in (1, 2, 4) or (is_compressed and bits == 8)
        return _COLOUR_NAMES.get(colours) == "grey" and bits in (1, 2, 4, 8, 16)

    def _has_separate_planes(self) -> bool:
        return self.first(Tag.PLANAR_CONFIGURATION, 1) == _SEPARATE_PLANES and self.first(Tag.SAMPLES_PER_PIXEL, 1) != 1

    def _is_combined_by_pillow(self) -> bool:
        """Tell whether Pillow combines planes correctly, as it does where libtiff decompresses them."""
        is_compressed = self.first(Tag.COMPRESSION, _NO_COMPRESSION) != _NO_COMPRESSION
        return is_compressed and _COLOUR_NAMES.get(self.first(Tag.PHOTOMETRIC, 1)) in _COMBINED_BY_PILLOW

    def _has_supported_layout(self) -> bool:
        return not self._has_separate_planes() or self._is_combined_by_pillow() or self.mode_of_planes() is not None

    def described(self) -> str:
        """Describe the pixels in words, such as "grey with 1 64-bit floating-point sample a pixel"."""
        number = self.first(Tag.COMPRESSION, _NO_COMPRESSION)
        if number not in _SUPPORTED_COMPRESSIONS:
            return f"pixels packed as {_COMPRESSION_NAMES.get(number, f'compression {number}')}"
        order = "" if self._has_normal_bit_order() else ", in reversed bit order"
        apart = ", each in a plane of its own" if not self._has_supported_layout() else ""
        number = self.first(Tag.PHOTOMETRIC, 1)
        kind = _SAMPLE_KINDS.get(self.first(Tag.SAMPLE_FORMAT, 1), "complex or undefined")
        count = self.first(Tag.SAMPLES_PER_PIXEL, 1)
        return (
            f"{_COLOUR_NAMES.get(number, f'colours of kind {number}')} with {count} "
            f"{self.first(Tag.BITS_PER_SAMPLE, 1)}-bit {kind} sample{'s' if count != 1 else ''} a pixel{apart}{order}"
        )


def is_format(data: bytes) -> bool:
    """Recognise a TIFF file by its first bytes."""
    return data.startswith(_SIGNATURES)


def read(_data: bytes) -> Header:
    """Leave the file to its decoder: malicious tags, strips or compressed data can cause any amount of work.

    Raises:
        Unusual: always.
    """
    raise Unusual


def tags_of(data: bytes) -> SampleTags:
    """Read the tags of the first directory that describe samples."""
    order = order_of(data)
    try:
        return SampleTags(
            {
                tag: struct.unpack_from(
                    f"{order}{min(entry.count, _MOST_VALUES)}{_STRUCT_CODES[entry.kind]}", data, entry.at
                )
                for tag, entry in entries(data)
                if tag in _SAMPLE_TAGS and entry.kind in _STRUCT_CODES and entry.count
            }
        )
    except struct.error:
        return SampleTags()


def readable_by_pillow(data: bytes) -> bytes:
    """Give a big-endian BigTIFF, which Pillow does not recognise, a directory in the classic form."""
    return rewrite_directory(data) if data.startswith(b"MM\x00\x2b") else data
