"""Hostile BMP files: run lengths that cost more than they are long, and headers that promise anything."""

import struct
from functools import partial

from tests.corpus.file import MOST_BYTES, REFUSED, CorpusFile

RAW, RLE8, RLE4, BITFIELDS = 0, 1, 2, 3
FULL = MOST_BYTES - 5000
# Reds, so that it is not taken for grey.
COLOURS = b"".join(bytes([0, 0, number, 0]) for number in range(256))
LINE_END, BITMAP_END, DELTA = b"\0\0", b"\0\1", b"\0\2"


def bmp(
    size: tuple[int, int],
    bits: int,
    compression: int,
    data: bytes,
    palette: bytes = b"",
    colours: int = 0,
    header: int = 40,
) -> bytes:
    info = struct.pack("<LllHHLLllLL", header, *size, 1, bits, compression, len(data), 0, 0, colours, 0)
    info = info.ljust(header, b"\0") + palette
    return b"BM" + struct.pack("<LHHL", 14 + len(info) + len(data), 0, 0, 14 + len(info)) + info + data


def runs(size: tuple[int, int], kind: int, data: bytes) -> bytes:
    palette = COLOURS if kind == RLE8 else COLOURS[:64]
    return bmp(size, 8 if kind == RLE8 else 4, kind, data, palette, len(palette) // 4)


def filled(unit: bytes) -> bytes:
    return unit * (FULL // len(unit))


def absolute(kind: int) -> bytes:
    """Runs of three pixels as they are, with a byte to fill each up."""
    data = b"\0\3\1\2\3\0" if kind == RLE8 else b"\0\3\x12\x30"
    return runs((2500, 1900), kind, filled(data))


def raw(size: tuple[int, int], bits: int, share: float = 1.0, palette: bytes = b"") -> bytes:
    """Flat, or only the first part of it."""
    length = int(((size[0] * bits + 31) >> 5) * 4 * abs(size[1]) * share)
    return bmp(size, bits, RAW, bytes(min(length, FULL)), palette, len(palette) // 4)


def masked(size: tuple[int, int], masks: tuple[int, int, int, int]) -> bytes:
    info = struct.pack("<LllHHLLllLL", 124, *size, 1, 32, BITFIELDS, 0, 0, 0, 0, 0)
    info = (info + struct.pack("<LLLL", *masks)).ljust(124, b"\0")
    return b"BM" + struct.pack("<LHHL", 14 + 124 + 1000, 0, 0, 14 + 124) + info + bytes(1000)


def old(size: tuple[int, int], bits: int) -> bytes:
    """OS/2's header of 12 bytes."""
    info = struct.pack("<LHHHH", 12, *size, 1, bits)
    return b"BM" + struct.pack("<LHHL", 26, 0, 0, 26 + (3 << bits if bits <= 8 else 0)) + info + bytes(3 << 8)


def long_header() -> bytes:
    return b"BM" + struct.pack("<LHHL", 26, 0, 0, 100) + struct.pack("<L", 2**32 - 1) + bytes(FULL)


LARGE = (10_000, 5_000)
_DELTA_HOME = runs(LARGE, RLE8, filled(b"\0\2\0\0"))

hostile = partial(CorpusFile, "BMP")

FILES = (
    hostile(
        "5 million runs of a pixel, RLE8",
        partial(runs, (2500, 2090), RLE8, (b"\1\5" * 2500 + LINE_END) * 2090),
        in_ci=True,
    ),
    hostile("5 million runs of a pixel, RLE4", partial(runs, (2500, 2090), RLE4, (b"\1\x12" * 2500 + LINE_END) * 2090)),
    hostile(
        "200,000 runs of 255 pixels, RLE8", partial(runs, (10_200, 4_900), RLE8, (b"\xff\5" * 40 + LINE_END) * 4900)
    ),
    hostile("400,000 runs over each line's end", partial(runs, (1, 400_000), RLE8, b"\xff\5" * 500_000)),
    hostile(
        "200,000 runs of 255 pixels, RLE4", partial(runs, (10_200, 4_900), RLE4, (b"\xff\x12" * 40 + LINE_END) * 4900)
    ),
    hostile("whole lines, RLE4", partial(runs, (255, 196_000), RLE4, b"\xff\x12\0\0" * 196_000), in_ci=True),
    hostile("5 million runs beyond the line", partial(runs, (100, 1000), RLE8, filled(b"\xff\5"))),
    hostile("5 million line ends", partial(runs, LARGE, RLE8, filled(LINE_END))),
    hostile("a line end in 50,000,000 x 1", partial(runs, (50_000_000, 1), RLE8, b"\1\1" + LINE_END + BITMAP_END)),
    hostile("a line end in each line", partial(runs, LARGE, RLE8, (b"\1\1" + LINE_END) * 5000)),
    hostile("2.5 million deltas of nothing", lambda: _DELTA_HOME, in_ci=True),
    hostile("deltas of 255 lines", partial(runs, (50_000_000, 1), RLE8, DELTA + b"\xff\xff" + BITMAP_END)),
    hostile("3 pixels as they are, RLE8", partial(absolute, RLE8)),
    hostile("3 pixels as they are, RLE4", partial(absolute, RLE4)),
    hostile("50 megapixels, end at once", partial(runs, LARGE, RLE8, BITMAP_END)),
    hostile("80 megapixels, 1 bit", partial(raw, (10_000, 8_000), 1), REFUSED),
    hostile("50 megapixels, 1 bit, coloured", partial(raw, LARGE, 1, 1.0, b"\0\0\xff\0\0\xff\0\0")),
    hostile("50 megapixels, a tenth of them there", partial(raw, LARGE, 16, 0.1), REFUSED, in_ci=True),
    hostile("50 megapixels, top first, cut off", partial(raw, (10_000, -5_000), 24, 0.06), REFUSED),
    hostile(
        "50 megapixels of bit fields, cut off", partial(masked, LARGE, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)), REFUSED
    ),
    hostile("50,000,000 x 1, cut off", partial(raw, (50_000_000, 1), 8, 0.1, COLOURS), REFUSED),
    hostile("1 x 2,500,000", partial(raw, (1, 2_500_000), 8, 1.0, COLOURS), in_ci=True),
    hostile("2 billion x 2 billion", partial(bmp, (2**31 - 1, 2**31 - 1), 24, RAW, bytes(100)), REFUSED),
    hostile("negative width", partial(bmp, (-5, 5), 24, RAW, bytes(100)), REFUSED),
    hostile("4 billion colours", partial(bmp, (64, 64), 8, RAW, bytes(5000), b"", 2**32 - 1), REFUSED),
    hostile("65,536 colours", partial(bmp, (64, 64), 8, RAW, bytes(5000), bytes(range(256)) * 1024, 65_536)),
    hostile("header of 4 GB", long_header, REFUSED),
    hostile("OS/2, 65,535 x 762, cut off", partial(old, (65_535, 762), 8), REFUSED),
)
