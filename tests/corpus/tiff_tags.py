"""Hostile TIFF files: tags without end, tags of millions of numbers, directories without end."""

import struct
from functools import partial

from tests.corpus.file import MOST_BYTES, REFUSED, CorpusFile
from tests.corpus.tiff import BITS, DEFLATE, HEIGHT, ORIENTATION, RAW, STRIP_BYTES, STRIPS, WIDTH, Tag, described, small
from tests.corpus.tiff_writer import ASCII, DATA_AT, LONG, RATIONAL, SHORT, UNDEFINED, Tags, tiff

FULL = MOST_BYTES - 5000


def unknown_tags(number: int, compression: int) -> bytes:
    return small({tag: (SHORT, [1]) for tag in range(45_000, 45_000 + number)}, compression)


def same_bytes(compression: int) -> bytes:
    """Tags that all point at the same 150 bytes, as many of them as Pillow takes for a file of this length."""
    return small({tag: (UNDEFINED, (150, DATA_AT)) for tag in range(42_000, 65_000)}, compression)


def megabytes() -> bytes:
    """Thousands of tags that all point at the same megabytes."""
    pixels = bytes(2**22)
    tags = described((2048, 2048), RAW)
    tags |= {STRIPS: (LONG, [DATA_AT]), STRIP_BYTES: (LONG, [2**22])}
    tags |= {tag: (UNDEFINED, (2**22, DATA_AT)) for tag in range(60_000, 64_000)}
    return tiff(tags, pixels)


def chain(number: int) -> bytes:
    """So many directories, each of the same image, each pointing at the next."""
    first = small({})
    at = len(first)
    directory = first[struct.unpack("<L", first[4:8])[0] : -4]
    made = [first[:-4], struct.pack("<L", at)]
    for count in range(number):
        at += len(directory) + 4
        made += [directory, struct.pack("<L", at if count < number - 1 else 0)]
    return b"".join(made)


def loop() -> bytes:
    made = small({}, DEFLATE)
    return made[:-4] + made[4:8]


def big(count: int) -> bytes:
    """BigTIFF that says it has so many tags."""
    sound = tiff({WIDTH: (LONG, [64])}, big=True)
    return sound[:16] + struct.pack("<Q", count) + bytes(FULL)


_FRACTIONS: Tag = (RATIONAL, b"\x48\0\0\0\7\0\0\0" * 1_200_000)
_TURNED: Tags = {ORIENTATION: (SHORT, [6])}

hostile = partial(CorpusFile, "TIFF")

FILES = (
    hostile("4,000 unknown tags, deflate", partial(unknown_tags, 4000, DEFLATE)),
    hostile("20,000 unknown tags, deflate", partial(unknown_tags, 20_000, DEFLATE)),
    hostile("20,000 unknown tags", partial(unknown_tags, 20_000, RAW)),
    hostile("23,000 tags of the same bytes", partial(same_bytes, RAW)),
    hostile("4,000 tags of the same 4 MB", megabytes),
    hostile(
        "resolution of 1.2 million fractions, turned",
        partial(small, {282: _FRACTIONS, 283: (RATIONAL, b"\1\0\0\0" * 2), **_TURNED}, DEFLATE),
        in_ci=True,
    ),
    hostile("4.5 million numbers of bits", lambda: small({BITS: (SHORT, b"\10\0" * 4_500_000)}), in_ci=True),
    hostile("orientation of 4.5 million numbers", lambda: small({ORIENTATION: (SHORT, b"\6\0" * 4_500_000)})),
    hostile("a description of 10 MB", lambda: small({270: (ASCII, b"d" * (FULL - 9000))}, DEFLATE)),
    hostile("80,000 directories", partial(chain, 80_000)),
    hostile("directories in a circle", loop),
    hostile(
        "2 billion strips",
        lambda: small({STRIPS: (LONG, (2**31, DATA_AT)), STRIP_BYTES: (LONG, (2**31, DATA_AT))}, DEFLATE),
    ),
    hostile("BigTIFF of 2 to the 60 tags", partial(big, 2**60), REFUSED),
    hostile("BigTIFF of 500,000 empty tags", partial(big, 520_000), REFUSED),
    hostile("4 billion x 4 billion", lambda: small({WIDTH: (LONG, [2**32 - 1]), HEIGHT: (LONG, [2**32 - 1])}), REFUSED),
)
