"""Hostile WebP files: lossless images of a few bits, tables without end, canvases beyond their frames."""

import struct
from functools import partial

from tests.corpus.file import MOST_BYTES, REFUSED, Bits, CorpusFile
from tests.corpus.tiff_writer import SHORT, tiff

FULL = MOST_BYTES - 5000
PREDICT, CROSS, SUBTRACT, INDEX = range(4)
SELECT, CLAMPED, AVERAGES = 11, 13, 10
HAS_ANIMATION, HAS_XMP, HAS_EXIF, HAS_ALPHA, HAS_ICC = 2, 4, 8, 16, 32


def chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<L", len(data)) + data + b"\0" * (len(data) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def extended(canvas: tuple[int, int], flags: int) -> bytes:
    across, down = canvas[0] - 1, canvas[1] - 1
    return chunk(b"VP8X", struct.pack("<L", flags) + struct.pack("<L", across)[:3] + struct.pack("<L", down)[:3])


def one_symbol(bits: Bits, value: int = 0) -> None:
    """A prefix code of a single symbol, which takes no bits at all where it is used."""
    bits.add(1, 1)
    bits.add(0, 1)
    bits.add(1, 1)
    bits.add(value, 8)


def flat_codes(bits: Bits, green: int = 0) -> None:
    """No colour cache, and the five prefix codes, each of a single symbol: pixels without any bits."""
    bits.add(0, 1)
    one_symbol(bits, green)
    for _ in range(4):
        one_symbol(bits)


def head(size: tuple[int, int], alpha: bool = True) -> Bits:
    bits = Bits()
    bits.add(0x2F, 8)
    bits.add(size[0] - 1, 14)
    bits.add(size[1] - 1, 14)
    bits.add(alpha, 1)
    bits.add(0, 3)
    return bits


def lossless(size: tuple[int, int], transforms: tuple[int, ...] = (), mode: int = SELECT) -> bytes:
    """An image of one colour, by transforms that change nothing and are computed all the same."""
    bits = head(size)
    for transform in transforms:
        bits.add(1, 1)
        bits.add(transform, 2)
        if transform in (PREDICT, CROSS):
            bits.add(0, 3)  # Tiles of 4 x 4, each with a mode or a set of factors of its own.
            flat_codes(bits, mode if transform == PREDICT else 77)
        elif transform == INDEX:
            bits.add(1, 8)  # Two colours: eight pixels in a byte.
            flat_codes(bits)
    bits.add(0, 1)
    bits.add(0, 1)
    bits.add(0, 1)
    for _ in range(5):
        one_symbol(bits)
    return bytes(bits)


def eight_bit_code(bits: Bits, extra: int = 0) -> None:
    """A prefix code of 256 symbols of 8 bits each, followed by so many unused ones."""
    bits.add(0, 1)
    bits.add(8, 4)  # 12 lengths of code lengths, in WebP's order.
    for symbol in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8):
        bits.add(1 if symbol in (8, 0) else 0, 3)
    bits.add(0, 1)
    for _ in range(256):
        bits.add(1, 1)
    for _ in range(extra):
        bits.add(0, 1)


def groups(edge: int) -> bytes:
    """A group of prefix codes for each of its tiles of 4 x 4: up to 65,536 of them, each with tables of its own."""
    bits = head((edge * 4, edge * 4))
    bits.add(0, 1)
    bits.add(0, 1)
    bits.add(1, 1)
    bits.add(0, 3)
    # Which tile has which group is an image itself, its number in red and green.
    bits.add(0, 1)
    eight_bit_code(bits, 24)
    eight_bit_code(bits)
    for _ in range(3):
        one_symbol(bits)
    backwards = [int(format(part, "08b")[::-1], 2) for part in range(256)]
    for number in range(edge * edge):
        bits.add(backwards[number & 255] | backwards[number >> 8] << 8, 16)
    one = Bits()
    one_symbol(one)
    bits.extend(one * (edge * edge * 5))
    return bytes(bits)


class BoolCoder:
    """Writes bits as VP8 does, each with the probability that it is 0 (RFC 6386, section 7)."""

    def __init__(self) -> None:
        self._bottom, self._range, self._width = 0, 255, 0

    def add(self, bit: bool, probability: int = 128) -> None:
        split = 1 + ((self._range - 1) * probability >> 8)
        if bit:
            self._bottom += split
            self._range -= split
        else:
            self._range = split
        while self._range < 128:
            self._bottom, self._range, self._width = self._bottom << 1, self._range << 1, self._width + 1

    def number(self, value: int, width: int) -> None:
        for place in reversed(range(width)):
            self.add(bool(value >> place & 1))

    def __bytes__(self) -> bytes:
        width = self._width + 8
        return (self._bottom << (-width % 8)).to_bytes(-(-width // 8), "big")


def lossy(size: tuple[int, int], level: int = 63) -> bytes:
    """The data of a lossy image of one colour, its edges filtered as strongly as that: where VP8's data are 0, every
    further bit is 0, whatever its probability; so all blocks are of 4 x 4, flat, and without coefficients."""
    bits = BoolCoder()
    for value, width in ((0, 1), (0, 1), (0, 1), (0, 1), (level, 6), (0, 3)):
        bits.number(value, width)
    macroblocks = -(-size[0] // 16) * -(-size[1] // 16)
    first = bytes(bits) + bytes(macroblocks)
    tag = struct.pack("<L", 0 | 1 << 4 | len(first) << 5)[:3]
    return tag + b"\x9d\x01\x2a" + struct.pack("<HH", *size) + first + bytes(2 * macroblocks)


def alpha(size: tuple[int, int], filtered: int) -> bytes:
    """An alpha channel of one value, lossless, and filtered (1 to 3)."""
    bits = lossless(size)
    return chunk(b"ALPH", bytes([1 | filtered << 2]) + bits[5:])


def still(data: bytes) -> bytes:
    return riff(chunk(b"VP8L", data))


def frame(size: tuple[int, int], data: bytes, at: tuple[int, int] = (0, 0)) -> bytes:
    numbers = (at[0] // 2, at[1] // 2, size[0] - 1, size[1] - 1, 100)
    return chunk(b"ANMF", b"".join(struct.pack("<L", n)[:3] for n in numbers) + b"\0" + data)


def animation(canvas: tuple[int, int], frames: bytes) -> bytes:
    return riff(extended(canvas, HAS_ANIMATION | HAS_ALPHA), chunk(b"ANIM", bytes(6)), frames)


def tiny_frames(canvas: tuple[int, int], number: int) -> bytes:
    return animation(canvas, frame((1, 1), chunk(b"VP8L", lossless((1, 1)))) * number)


def beside(flags: int, kind: bytes, data: bytes, times: int = 1) -> bytes:
    """A small image with chunks before it and after it."""
    added = chunk(kind, data) * times
    before, after = (added, b"") if kind == b"ICCP" else (b"", added)
    return riff(extended((64, 64), flags), before, chunk(b"VP8L", lossless((64, 64))), after)


def truncated() -> bytes:
    """A large image, of whose data there is the first half."""
    data = lossy(LARGE)
    return riff(chunk(b"VP8 ", data))[: len(data) // 2]


def in_frame(size: tuple[int, int], data: bytes) -> bytes:
    return riff(extended(size, HAS_ALPHA), data)


LARGE = (16_383, 3_051)
_ALL = (PREDICT, CROSS, SUBTRACT)

hostile = partial(CorpusFile, "WEBP")

FILES = (
    hostile("50 megapixels, lossless, no transform", lambda: still(lossless(LARGE))),
    hostile("50 megapixels, predicted by selection", lambda: still(lossless(LARGE, (PREDICT,), SELECT))),
    hostile("50 megapixels, predicted by halves", lambda: still(lossless(LARGE, (PREDICT,), CLAMPED))),
    hostile("50 megapixels, all transforms", lambda: still(lossless(LARGE, _ALL, SELECT)), in_ci=True),
    hostile("50 megapixels, all transforms, by averages", lambda: still(lossless(LARGE, _ALL, AVERAGES))),
    hostile(
        "50 megapixels, all transforms in a canvas", lambda: in_frame(LARGE, chunk(b"VP8L", lossless(LARGE, _ALL)))
    ),
    hostile("50 megapixels of two colours", lambda: still(lossless(LARGE, (INDEX,)))),
    hostile("65,536 groups of codes", lambda: still(groups(256)), in_ci=True),
    hostile("16,384 groups of codes", lambda: still(groups(128))),
    hostile("1 x 16,383", lambda: still(lossless((1, 16_383), _ALL))),
    hostile("16,383 x 16,383", lambda: still(lossless((16_383, 16_383))), REFUSED),
    hostile("50 megapixels, lossy", lambda: riff(chunk(b"VP8 ", lossy(LARGE)))),
    hostile("50 megapixels, lossy, not filtered", lambda: riff(chunk(b"VP8 ", lossy(LARGE, 0)))),
    hostile(
        "50 megapixels, lossy with alpha",
        lambda: in_frame(LARGE, alpha(LARGE, 3) + chunk(b"VP8 ", lossy(LARGE))),
        in_ci=True,
    ),
    hostile("50 megapixels, lossy, truncated", truncated, REFUSED),
    hostile("240,000 animated frames", partial(tiny_frames, (64, 64), 200_000)),
    hostile("canvas of 16,777,216 x 2 for a frame of 1 x 1", partial(tiny_frames, (2**24, 2), 1), in_ci=True),
    hostile("canvas of 2 x 16,777,216 for a frame of 1 x 1", partial(tiny_frames, (2, 2**24), 1)),
    hostile("canvas of 10,000 x 5,000 for a frame of 1 x 1", partial(tiny_frames, (10_000, 5_000), 2)),
    hostile("canvas of 16,777,216 x 255", partial(tiny_frames, (2**24, 255), 1), REFUSED),
    hostile(
        "frame beyond its canvas",
        lambda: animation((64, 64), frame((5000, 5000), chunk(b"VP8L", lossless((5000, 5000))))),
    ),
    hostile(
        "frame of 10,000 x 5,000 in an animation",
        lambda: animation((10_000, 5_000), frame((10_000, 5_000), chunk(b"VP8L", lossless((10_000, 5_000), _ALL)))),
    ),
    hostile("1.2 million unknown chunks", partial(beside, 0, b"abcd", b"", FULL // 8), in_ci=True),
    hostile("XMP of 10 MB", partial(beside, HAS_XMP, b"XMP ", b"<" * FULL)),
    hostile("ICC profile of 10 MB", partial(beside, HAS_ICC, b"ICCP", bytes(FULL))),
    hostile(
        "EXIF orientation of 4.5 million numbers",
        lambda: beside(HAS_EXIF, b"EXIF", tiff({0x0112: (SHORT, b"\6\0" * 4_500_000)})),
    ),
    hostile("2 GB promised", lambda: b"RIFF\xf0\xff\xff\x7fWEBPVP8L\xf0\xff\xff\x7f" + lossless(LARGE)),
)
