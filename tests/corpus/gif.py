"""Hostile GIF files: screens and frames of any size in a few bytes, sub-blocks and extensions without end."""

import struct
from functools import partial

from tests.corpus.file import MOST_BYTES, REFUSED, Bits, CorpusFile

FULL = MOST_BYTES - 5000
COLOURS = bytes(range(256)) * 3
# Disposal methods: the frame is replaced with the background, or with what was there before.
BACKGROUND, PREVIOUS = 2, 3
INTERLACED, LOCAL = 0x40, 0x87


def screen(size: tuple[int, int], coloured: bool = True) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", *size, 0xF7 if coloured else 0, 0, 0) + (COLOURS if coloured else b"")


def control(disposal: int = 0, transparent: int | None = None) -> bytes:
    flags = disposal << 2 | (transparent is not None)
    return b"!\xf9\4" + struct.pack("<BHB", flags, 10, transparent or 0) + b"\0"


def blocks(data: bytes) -> bytes:
    parts = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def frame(size: tuple[int, int], data: bytes, at: tuple[int, int] = (0, 0), flags: int = 0) -> bytes:
    """A frame of 8-bit codes."""
    palette = COLOURS if flags & 0x80 else b""
    return b"," + struct.pack("<HHHHB", *at, *size, flags) + palette + b"\x08" + blocks(data)


def zeros(pixels: int) -> bytes:
    """The LZW codes of so many pixels of 0, the longest strings that LZW can make, with 8-bit pixels."""
    bits, done = Bits(), 0
    bits.add(256, 9)
    while done < pixels:
        # Code 0, then each new code is the string before it and one pixel more; the table is then full, and stays so.
        following, width, length = 258, 9, 1
        bits.add(0, width)
        done += 1
        while done < pixels and following < 4096:
            length += 1
            bits.add(following, width)
            done += length
            following += 1
            if following == 1 << width and width < 12:
                width += 1
        if done < pixels:
            rest = -(-(pixels - done) // length)
            for _ in range(rest):
                bits.add(4095, 12)
            done = pixels
    bits.add(257, 12)
    return bytes(bits)


def only_clear_codes() -> bytes:
    """No pixel, but 9 million times the code that clears the table."""
    code = Bits()
    code.add(256, 9)
    data = bytes(code * 8) * (FULL * 254 // 255 // 9)
    return screen((5000, 5000)) + frame((5000, 5000), data) + b";"


def cleared_after_each_pixel() -> bytes:
    """Each pixel a new table: the least that a code can do."""
    pair = Bits()
    pair.add(256, 9)
    pair.add(1, 9)
    data = bytes(pair * 4) * (FULL * 254 // 255 // 9)
    return screen((2000, 2250)) + frame((2000, 2250), data) + b";"


def bytewise() -> bytes:
    """Each byte of the codes in a sub-block of its own; each code a pixel of 0."""
    start = screen((1800, 1800)) + b"," + struct.pack("<HHHHB", 0, 0, 1800, 1800, 0) + b"\x08"
    return start + b"\1\0" * (FULL // 2) + b"\0;"


def flat(size: tuple[int, int], flags: int = 0, before: bytes = b"", coloured: bool = True) -> bytes:
    return screen(size, coloured) + before + frame(size, zeros(size[0] * size[1]), flags=flags) + b";"


def small(before: bytes = b"", after: bytes = b"") -> bytes:
    return screen((64, 64)) + before + frame((64, 64), zeros(64 * 64)) + after + b";"


def filled(unit: bytes) -> bytes:
    return unit * (FULL // len(unit))


def comment(length: int) -> bytes:
    """A comment of 10 MB in sub-blocks of that length."""
    return b"!\xfe" + filled(bytes([length]) + b"c" * length) + b"\0"


def enormous(disposal: int, transparent: int | None = None) -> bytes:
    """65,535 x 65,535, of which no pixel follows."""
    return screen((65_535, 65_535), False) + control(disposal, transparent) + frame((65_535, 65_535), b"\0") + b";"


def outside(size: tuple[int, int], at: tuple[int, int], disposal: int = 0) -> bytes:
    """A frame beyond the screen, which makes the screen larger."""
    return screen((64, 64)) + control(disposal) + frame(size, zeros(64), at) + b";"


def second_frame_outside() -> bytes:
    return small(after=frame((65_535, 65_535), zeros(64)))


LARGE = (10_000, 5_000)
_TRANSPARENT = control(transparent=0)

hostile = partial(CorpusFile, "GIF")

FILES = (
    hostile("65,535 x 65,535, replaced with the background", partial(enormous, BACKGROUND), REFUSED, in_ci=True),
    hostile("65,535 x 65,535, replaced with transparency", partial(enormous, BACKGROUND, 0), REFUSED),
    hostile("65,535 x 65,535, replaced with what was there", partial(enormous, PREVIOUS, 0), REFUSED),
    hostile(
        "frame of 65,535 x 65,535 on a screen of 64 x 64",
        partial(outside, (65_535, 65_535), (0, 0), BACKGROUND),
        in_ci=True,
    ),
    hostile("frame far outside the screen", partial(outside, (64, 64), (65_000, 65_000))),
    hostile("frame of 6,000 x 6,000 outside, replaced", partial(outside, (6_000, 6_000), (1_000, 1_000), BACKGROUND)),
    hostile("second frame of 65,535 x 65,535", second_frame_outside),
    hostile("5 million sub-blocks of a byte in a comment", lambda: small(before=comment(1)), in_ci=True),
    hostile("3.5 million sub-blocks of 2 bytes in a comment", lambda: small(before=comment(2))),
    hostile("a comment of 10 MB", lambda: small(before=comment(255))),
    hostile("2.6 million empty comments", lambda: small(before=filled(b"!\xfe\0"))),
    hostile("2.6 million empty extensions", lambda: small(before=filled(b"!\1\0\0"))),
    hostile("1.3 million controls", lambda: small(before=filled(control()))),
    hostile("500,000 application extensions", lambda: small(before=filled(b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"))),
    hostile("2.6 million extensions after", lambda: small(after=filled(b"!\1\0\0"))),
    hostile("10 MB of junk before the frame", lambda: small(before=filled(b"\1" * 1000))),
    hostile("clear codes only", only_clear_codes),
    hostile("a new table for each pixel", cleared_after_each_pixel),
    hostile("pixels in sub-blocks of a byte", bytewise, in_ci=True),
    hostile("400,000 tiny frames", lambda: small(after=filled(frame((1, 1), zeros(1))))),
    hostile("50 megapixels", partial(flat, LARGE)),
    hostile("50 megapixels, interlaced and transparent", partial(flat, LARGE, INTERLACED, _TRANSPARENT), in_ci=True),
    hostile("50 megapixels, palette of its own", partial(flat, LARGE, LOCAL, control(BACKGROUND, 0), False)),
    hostile("1 x 65,535", partial(flat, (1, 65_535))),
    hostile("763 x 65,535, interlaced", partial(flat, (762, 65_535), INTERLACED)),
)
