"""Hostile PNG files: thin ones, vast ones of a few bytes, chunks without end, bombs in what is beside the pixels."""

import struct
import zlib
from functools import partial

from tests.corpus.file import ACCEPTED, MOST_BYTES, REFUSED, CorpusFile, deflated, tables_of_deflate
from tests.corpus.tiff_writer import SHORT, tiff

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
UP, AVERAGE, PAETH = 2, 3, 4
FULL = MOST_BYTES - 5000
COLOURS = bytes(range(256)) * 3


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">L4s", len(data), kind) + data + struct.pack(">L", zlib.crc32(kind + data))


def header(size: tuple[int, int], depth: int, colour: int, interlaced: bool = False) -> bytes:
    return SIGNATURE + chunk(b"IHDR", struct.pack(">LLBBBBB", *size, depth, colour, 0, 0, interlaced))


def row(width: int, depth: int, colour: int, filtered: int = 0) -> bytes:
    return bytes([filtered]) + bytes(-(-width * depth * SAMPLES[colour] // 8))


def pixels(size: tuple[int, int], depth: int, colour: int, filtered: int = 0) -> bytes:
    return deflated(row(size[0], depth, colour, filtered), size[1])


def flat(size: tuple[int, int], depth: int, colour: int, filtered: int = 0, beside: bytes = b"") -> bytes:
    """All pixels are 0; what is `beside` comes before them."""
    if colour == PALETTE:
        beside = chunk(b"PLTE", COLOURS[: 3 << depth]) + beside
    data = pixels(size, depth, colour, filtered)
    return header(size, depth, colour) + beside + chunk(b"IDAT", data) + chunk(b"IEND")


def interlaced(size: tuple[int, int], depth: int, colour: int, filtered: int = 0) -> bytes:
    """Adam7: seven images in one."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    # Rows of zeros, filtered by none: how long they are does not matter to what is in them.
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(size[0] - left) // across), -(-(size[1] - top) // down)
        total += rows * len(row(columns, depth, colour, filtered))
    unit = bytes(2**20)
    data = deflated(unit, total // 2**20 + 1)
    return header(size, depth, colour, True) + chunk(b"IDAT", data) + chunk(b"IEND")


def small(before: bytes = b"", amid: bytes = b"", after: bytes = b"", beside: bytes = b"") -> bytes:
    """An image of 64 x 64 with chunks before its pixels, amid or after them."""
    data = pixels((64, 64), 8, GREY)
    halves = chunk(b"IDAT", data[:10]) + amid + chunk(b"IDAT", data[10:])
    return header((64, 64), 8, GREY) + beside + before + halves + after + chunk(b"IEND")


def filled(unit: bytes) -> bytes:
    return unit * (FULL // len(unit))


def bytewise() -> bytes:
    """The pixels in chunks of one byte each: noise that deflate could not make smaller."""
    stored = zlib.compress(bytes([0]) + bytes(range(256)) * 3000, 0)[: FULL // 13]
    parts = (chunk(b"IDAT", stored[at : at + 1]) for at in range(len(stored)))
    return header((700_000, 1), 8, GREY) + b"".join(parts) + chunk(b"IEND")


def profile_bomb(sound: bool = True) -> bytes:
    """A profile of just under 1 MB, which is what Pillow lets pass, as often as it fits."""
    data = deflated(bytes(1000), 1048, cut=not sound)
    return chunk(b"iCCP", b"p\0\0" + data)


def text_bomb(kind: bytes, sound: bool = True) -> bytes:
    """A text of just under 1 MB. One that breaks at its end is not counted to the texts' sum."""
    data = deflated(bytes(1000), 1048)
    data = data if sound else data[:-4] + b"\0\0\0\0"
    head = b"k\0\0" if kind == b"zTXt" else b"k\0\1\0\0\0"
    return chunk(kind, head + data)


def animated(frames: int) -> bytes:
    made = chunk(b"acTL", struct.pack(">LL", frames, 0))
    control = struct.pack(">LLLLHHBB", 64, 64, 0, 0, 1, 100, 2, 0)
    data, parts, sequence = pixels((64, 64), 8, GREY), [made], 0
    for number in range(frames):
        parts.append(chunk(b"fcTL", struct.pack(">L", sequence) + control))
        if number == 0:
            parts.append(chunk(b"IDAT", data))
            sequence += 1
        else:
            parts.append(chunk(b"fdAT", struct.pack(">L", sequence + 1) + data))
            sequence += 2
    return header((64, 64), 8, GREY) + b"".join(parts) + chunk(b"IEND")


def only_controls() -> bytes:
    """Hundreds of thousands of frame controls before the first pixel."""
    parts = [chunk(b"acTL", struct.pack(">LL", 2, 0))]
    for number in range(250_000):
        parts.append(chunk(b"fcTL", struct.pack(">LLLLLHHBB", number, 64, 64, 0, 0, 1, 100, 0, 0)))
    return small(before=b"".join(parts))


def tables() -> bytes:
    return header((5000, 5000), 8, GREY) + chunk(b"IDAT", tables_of_deflate(FULL)) + chunk(b"IEND")


def stored_blocks() -> bytes:
    """Millions of stored blocks of no bytes each."""
    return (
        header((5000, 5000), 8, GREY) + chunk(b"IDAT", b"\x78\x01" + b"\0\0\0\xff\xff" * (FULL // 5)) + chunk(b"IEND")
    )


def wrong_checksum() -> bytes:
    sound = flat((10_000, 5_000), 8, RGB)
    return sound[:-14] + b"\0\0" + sound[-12:]


def surplus() -> bytes:
    """An image of 1 x 1 whose pixels' stream goes on for 400 MB."""
    data = deflated(bytes(2**20), 400)
    return header((1, 1), 8, GREY) + chunk(b"IDAT", data) + chunk(b"IEND")


LARGE = (10_000, 5_000)
_SEE_THROUGH = chunk(b"tRNS", bytes(256))

_ORIENTATIONS = chunk(b"eXIf", tiff({0x0112: (SHORT, b"\6\0" * 4_500_000)}))

hostile = partial(CorpusFile, "PNG")

FILES = (
    hostile("1 x 400,000", partial(flat, (1, 400_000), 8, GREY)),
    hostile("1 x 2,000,000", partial(flat, (1, 2_000_000), 8, GREY)),
    hostile("1 x 50,000,000", partial(flat, (1, 50_000_000), 8, GREY), in_ci=True),
    hostile("1 x 50,000,000, RGBA", partial(flat, (1, 50_000_000), 8, RGBA)),
    hostile("2,000,000 x 1", partial(flat, (2_000_000, 1), 8, GREY)),
    hostile("50,000,000 x 1", partial(flat, (50_000_000, 1), 8, GREY)),
    hostile("7 x 7,000,000, 1 bit", partial(flat, (7, 7_000_000), 1, GREY)),
    hostile("50 megapixels, 2 bits", partial(flat, LARGE, 2, GREY)),
    hostile("50 megapixels, 16-bit grey", partial(flat, LARGE, 16, GREY, PAETH)),
    hostile("50 megapixels, 16-bit grey with alpha", partial(flat, LARGE, 16, GREY_ALPHA, PAETH)),
    hostile("50 megapixels, 16-bit RGB", partial(flat, LARGE, 16, RGB, PAETH)),
    hostile("50 megapixels, 16-bit RGBA", partial(flat, LARGE, 16, RGBA, PAETH), in_ci=True),
    hostile("50 megapixels, 16-bit RGBA, averaged", partial(flat, LARGE, 16, RGBA, AVERAGE)),
    hostile("50 megapixels, grey with alpha", partial(flat, LARGE, 8, GREY_ALPHA, UP)),
    hostile("50 megapixels, transparent palette", partial(flat, LARGE, 8, PALETTE, 0, _SEE_THROUGH)),
    hostile("50 megapixels, 1-bit transparent palette", partial(flat, LARGE, 1, PALETTE, 0, chunk(b"tRNS", b"\0\0"))),
    hostile("50 megapixels, transparent colour", partial(flat, LARGE, 8, RGB, 0, chunk(b"tRNS", bytes(6)))),
    hostile("50 megapixels interlaced, 1 bit", partial(interlaced, LARGE, 1, GREY)),
    hostile("50 megapixels interlaced, RGB", partial(interlaced, LARGE, 8, RGB)),
    hostile("50 megapixels interlaced, 16-bit RGBA", partial(interlaced, LARGE, 16, RGBA)),
    hostile("870,000 empty IDAT", lambda: small(amid=filled(chunk(b"IDAT")))),
    hostile("pixels in 700,000 IDAT of a byte", bytewise),
    hostile("870,000 unknown chunks before", lambda: small(before=filled(chunk(b"abCd"))), ACCEPTED, in_ci=True),
    hostile("870,000 unknown chunks after", lambda: small(after=filled(chunk(b"abCd"))), ACCEPTED),
    hostile("750,000 texts", lambda: small(before=filled(chunk(b"tEXt", b"k\0"))), ACCEPTED),
    hostile("500,000 texts after", lambda: small(after=filled(chunk(b"tEXt", b"k\0v"))), ACCEPTED),
    hostile("8,000 profiles of 1 MB", lambda: small(before=filled(profile_bomb())), ACCEPTED, in_ci=True),
    hostile("8,000 profiles of 1 MB, cut off", lambda: small(before=filled(profile_bomb(False))), ACCEPTED),
    hostile("64 texts of 1 MB", lambda: small(before=text_bomb(b"zTXt") * 63), ACCEPTED),
    hostile("8,000 texts of 1 MB", lambda: small(before=filled(text_bomb(b"zTXt"))), ACCEPTED),
    hostile("8,000 broken texts of 1 MB", lambda: small(before=filled(text_bomb(b"zTXt", False))), ACCEPTED),
    hostile("8,000 broken texts of 1 MB after", lambda: small(after=filled(text_bomb(b"iTXt", False))), ACCEPTED),
    hostile("orientation of 4.5 million numbers", lambda: small(before=_ORIENTATIONS), ACCEPTED),
    hostile("30,000 animated frames", partial(animated, 60_000), ACCEPTED),
    hostile("250,000 frame controls", only_controls, ACCEPTED),
    hostile("tables of deflate without end", tables, in_ci=True),
    hostile("2 million stored blocks of nothing", stored_blocks),
    hostile("400 MB behind a pixel", surplus),
    hostile("a wrong checksum behind 50 megapixels", wrong_checksum),
    hostile(
        "2 billion x 2 billion",
        lambda: header((2**31 - 1, 2**31 - 1), 8, RGB) + chunk(b"IDAT", b"") + chunk(b"IEND"),
        REFUSED,
    ),
)
