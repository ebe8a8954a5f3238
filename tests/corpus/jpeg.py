"""Hostile JPEG files: scans without end, segments without end, dimensions without data."""

import struct
from collections.abc import Sequence
from functools import partial

from tests.corpus.file import MOST_BYTES, REFUSED, CorpusFile
from tests.corpus.tiff_writer import LONG, RATIONAL, SHORT, UNDEFINED, tiff

FULL = MOST_BYTES - 2000
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
BASELINE, SEQUENTIAL, PROGRESSIVE, ARITHMETIC, ARITHMETIC_PROGRESSIVE = 0xC0, 0xC1, 0xC2, 0xC9, 0xCA
APP1, APP2, COM, DHT, DQT, DRI, DNL = 0xE1, 0xE2, 0xFE, 0xC4, 0xDB, 0xDD, 0xDC
GREY, COLOUR = ((1, 1),), ((1, 1),) * 3
HALVED, CMYK = ((2, 2), (1, 1), (1, 1)), ((1, 1),) * 4
# The numbers of an AC code: a block's end; a coefficient of 1 or -1; a run of 16,384 blocks' ends.
END, ONE, MANY_ENDS = 0x00, 0x01, 0xE0


def segment(marker: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def quantization() -> bytes:
    return segment(DQT, bytes([0]) + bytes([1]) * 64)


def huffman(ac: int = END) -> bytes:
    """Tables whose only codes are a single bit: no difference for DC, that number for AC."""
    one_bit = bytes([1] + [0] * 15)
    return segment(DHT, b"\x00" + one_bit + b"\x00") + segment(DHT, b"\x10" + one_bit + bytes([ac]))


def frame(kind: int, width: int, height: int, components: Sequence[tuple[int, int]]) -> bytes:
    parts = b"".join(bytes([number, h << 4 | v, 0]) for number, (h, v) in enumerate(components, 1))
    return segment(kind, struct.pack(">BHHB", 8, height, width, len(components)) + parts)


def scan(components: Sequence[int], first: int = 0, last: int = 63, high: int = 0, low: int = 0) -> bytes:
    parts = b"".join(bytes([number, 0]) for number in components)
    return segment(0xDA, bytes([len(components)]) + parts + bytes([first, last, high << 4 | low]))


def start(kind: int, size: tuple[int, int], components: Sequence[tuple[int, int]], ac: int = END) -> bytes:
    return SOI + quantization() + huffman(ac) + frame(kind, *size, components)


def blocks(size: tuple[int, int]) -> int:
    return -(-size[0] // 8) * -(-size[1] // 8)


def flat(kind: int, size: tuple[int, int], components: Sequence[tuple[int, int]] = COLOUR) -> bytes:
    """One scan of grey, a bit for each block's DC and another for its end."""
    numbers = range(1, len(components) + 1)
    most_h, most_v = max(h for h, _ in components), max(v for _, v in components)
    mcus = blocks((-(-size[0] // most_h), -(-size[1] // most_v)))
    bits = 2 * mcus * sum(h * v for h, v in components)
    return start(kind, size, components) + scan(numbers) + bytes(bits // 8 + 1) + EOI


def no_data(kind: int, size: tuple[int, int], components: Sequence[tuple[int, int]] = COLOUR, last: int = 63) -> bytes:
    return start(kind, size, components) + scan(range(1, len(components) + 1), 0, last) + EOI


def scans(kind: int, size: tuple[int, int], number: int, components: Sequence[tuple[int, int]] = COLOUR) -> bytes:
    """So many scans without data, of one component each."""
    last = 0 if kind in (PROGRESSIVE, ARITHMETIC_PROGRESSIVE) else 63
    each = b"".join(scan([part], 0, last) for part in range(1, len(components) + 1))
    return start(kind, size, components) + each * (number // len(components)) + EOI


def ends(size: tuple[int, int]) -> bytes:
    """Runs of 16,384 blocks' ends, of 15 bits each."""
    runs = -(-blocks(size) // 16384)
    return bytes(runs * 15 // 8 + 1)


def refinements(size: tuple[int, int], number: int) -> bytes:
    """So many scans that refine a bit of every coefficient, each of runs of 16,384 blocks' ends."""
    one = scan([1], 1, 63, 1, 0) + ends(size)
    before = scan([1], 0, 0)
    return start(PROGRESSIVE, size, GREY, MANY_ENDS) + before + one * number + EOI


def all_bits(size: tuple[int, int]) -> bytes:
    """Every bit of every coefficient in a scan of its own, of a component of its own."""
    made = start(PROGRESSIVE, size, COLOUR, MANY_ENDS)
    runs = ends(size)
    made += scan([1, 2, 3], 0, 0, 0, 13)
    for low in range(12, -1, -1):
        made += scan([1, 2, 3], 0, 0, low + 1, low)
    for part in (1, 2, 3):
        for coefficient in range(1, 64, 8):
            for low in range(13, -1, -1):
                made += scan([part], coefficient, coefficient + 6, low + 1 if low < 13 else 0, low) + runs
    return made + EOI


def every_coefficient(size: tuple[int, int]) -> bytes:
    """No coefficient is zero, so that each block costs a whole transformation."""
    return start(BASELINE, size, GREY, ONE) + scan([1]) + bytes(blocks(size) * 127 // 8 + 1) + EOI


def small() -> bytes:
    """A sound image, without its start."""
    return flat(BASELINE, (64, 64), GREY)[2:]


def before_image(unit: bytes, size: int = FULL) -> bytes:
    return SOI + segment(0xE0, b"JFIF\0") + unit * (size // len(unit)) + small()


def between_scans(unit: bytes) -> bytes:
    made = start(PROGRESSIVE, (64, 64), COLOUR)
    return made + scan([1, 2, 3], 0, 0) + unit * (FULL // len(unit)) + scan([1], 1, 63) + EOI


def exif(data: bytes) -> bytes:
    """The data as EXIF, in as many segments as it takes, each a continuation of the one before."""
    parts = [data[at : at + 65500] for at in range(0, len(data), 65500)]
    return SOI + b"".join(segment(APP1, b"Exif\0\0" + part) for part in parts) + small()


def exif_pieces() -> bytes:
    """5 MB of EXIF, and then hundreds of thousands of pieces that are appended to it one by one."""
    large = segment(APP1, b"Exif\0\0" + bytes(65500)) * 70
    piece = segment(APP1, b"Exif\0\0\0")
    return SOI + large + piece * ((FULL - len(large)) // len(piece)) + small()


def exif_same_bytes() -> bytes:
    """Thousands of tags that all point at the same 40 KB."""
    shared = [(tag, UNDEFINED, (40_000, 8)) for tag in range(40_000, 41_500)]
    return SOI + segment(APP1, b"Exif\0\0" + tiff({t: (k, v) for t, k, v in shared}, bytes(40_000))) + small()


def icc(pieces: int) -> bytes:
    profile = bytes(65_000 if pieces <= 150 else 16)
    parts = (segment(APP2, b"ICC_PROFILE\0" + bytes([n % 255 + 1, min(pieces, 255)]) + profile) for n in range(pieces))
    return SOI + b"".join(parts) + small()


def many_pictures() -> bytes:
    """An index of 4,000 pictures (MPF), none of which is there."""
    entries = struct.pack("<LLLHH", 0x030000, 0, 0, 0, 0) * 4000
    index = tiff({0xB000: (UNDEFINED, b"0100"), 0xB001: (LONG, [4000]), 0xB002: (UNDEFINED, entries)})
    return SOI + segment(APP2, b"MPF\0" + index) + small()


def costly_scans(number: int) -> bytes:
    """So many scans of a pixel, each of which makes the tables of all 162 codes anew."""
    ac = segment(DHT, b"\x10" + bytes([0] * 7 + [162] + [0] * 8) + bytes(range(162)))
    dc = segment(DHT, b"\x00" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12)))
    head = SOI + quantization() + dc + ac + frame(SEQUENTIAL, 1, 1, COLOUR)
    return head + scan([1]) * number + scan([2]) + scan([3]) + EOI


def restarts(size: tuple[int, int]) -> bytes:
    """A restart after every block."""
    eight = b"".join(b"\x3f\xff" + bytes([0xD0 + number]) for number in range(8))
    made = SOI + quantization() + huffman() + segment(DRI, b"\0\1") + frame(BASELINE, *size, GREY) + scan([1])
    return made + eight * (blocks(size) // 8) + EOI


def height_afterwards() -> bytes:
    """A height of 0, said by a DNL segment after the scan."""
    made = start(BASELINE, (64, 0), GREY) + scan([1]) + bytes(16)
    return made + segment(DNL, b"\0\x40") + EOI


LARGE, WIDE = (10_000, 5_000), (65_500, 763)
_TABLE_16 = segment(DHT, b"\x00" + bytes([1] + [0] * 15) + b"\x00")
_ORIENTATIONS = {0x0112: (SHORT, b"\x06\x00" * 4_500_000)}
_RATIONALS = {0x0128: (SHORT, [2]), 0x011A: (RATIONAL, b"\x48\0\0\0\1\0\0\0" * 1_100_000)}

_PHOTOSHOP = segment(0xED, b"Photoshop 3.0\0" + (b"8BIM" + bytes(8)) * 5400)

hostile = partial(CorpusFile, "JPEG")

FILES = (
    hostile("4,000 empty scans of 1 megapixel", partial(scans, SEQUENTIAL, (1000, 1000), 4000)),
    hostile("60,000 empty scans of 1 megapixel", partial(scans, SEQUENTIAL, (1000, 1000), 60_000), in_ci=True),
    hostile("100 empty scans of 50 megapixels", partial(scans, SEQUENTIAL, LARGE, 100)),
    hostile("a million scans of 1 pixel", partial(scans, SEQUENTIAL, (1, 1), 1_000_000)),
    hostile("a million scans of 1 pixel, full tables", partial(costly_scans, 1_000_000)),
    hostile("a million progressive scans of 1 pixel", partial(scans, PROGRESSIVE, (1, 1), 1_000_000)),
    hostile("800 progressive scans of 1 megapixel", partial(scans, PROGRESSIVE, (1000, 1000), 790)),
    hostile("60,000 progressive scans of 1 megapixel", partial(scans, PROGRESSIVE, (1000, 1000), 60_000)),
    hostile("15 refinements of 50 megapixels", partial(refinements, LARGE, 14), in_ci=True),
    hostile("700 refinements of 1 megapixel", partial(refinements, (1000, 1000), 700)),
    hostile("80,000 refinements of 100 x 100", partial(refinements, (100, 100), 79_000)),
    hostile("every bit in a scan, 2 megapixels", partial(all_bits, (2000, 1000))),
    hostile("every bit in a scan, 50 megapixels", partial(all_bits, LARGE)),
    hostile("first scan alone, 50 megapixels", partial(no_data, PROGRESSIVE, LARGE, COLOUR, 0)),
    hostile("first scan alone, CMYK, 50 megapixels", partial(no_data, PROGRESSIVE, LARGE, CMYK, 0), in_ci=True),
    hostile("no data, 50 megapixels", partial(no_data, BASELINE, LARGE)),
    hostile("no data, 65,500 x 763", partial(no_data, BASELINE, WIDE)),
    hostile("no data, CMYK in four scans", partial(scans, SEQUENTIAL, LARGE, 4, CMYK)),
    hostile("arithmetic, no data, 50 megapixels", partial(no_data, ARITHMETIC, LARGE)),
    hostile("arithmetic, 1,000 scans of 1 megapixel", partial(scans, ARITHMETIC, (1000, 1000), 999), in_ci=True),
    hostile("arithmetic, progressive, 750 scans", partial(scans, ARITHMETIC_PROGRESSIVE, (1000, 1000), 750)),
    hostile("flat, 4:4:4, 50 megapixels", partial(flat, BASELINE, LARGE)),
    hostile("flat, 1:16 sampling, 50 megapixels", partial(flat, BASELINE, LARGE, ((4, 2), (1, 1), (1, 1)))),
    hostile("flat, 3:1 sampling, 50 megapixels", partial(flat, BASELINE, LARGE, ((3, 1), (1, 1), (1, 1)))),
    hostile("flat, grey sampled 4 x 4", partial(flat, BASELINE, LARGE, ((4, 4),))),
    hostile("flat, CMYK, 50 megapixels", partial(flat, BASELINE, LARGE, CMYK)),
    hostile("65,500 x 1", partial(flat, BASELINE, (65_500, 1))),
    hostile("1 x 65,500", partial(flat, BASELINE, (1, 65_500))),
    hostile("65,500 x 65,500", partial(no_data, BASELINE, (65_500, 65_500)), REFUSED),
    hostile("no coefficient is zero, 41 megapixels", partial(every_coefficient, (8000, 5120))),
    hostile("a restart after every block", partial(restarts, (8000, 6000))),
    hostile("height said afterwards", height_afterwards, REFUSED),
    hostile("2.6 million empty comments", partial(before_image, segment(COM))),
    hostile("2.6 million empty APP5", partial(before_image, segment(0xE5))),
    hostile("2.6 million empty comments between scans", partial(between_scans, segment(COM))),
    hostile("500,000 Huffman tables", partial(before_image, _TABLE_16)),
    hostile("500,000 Huffman tables between scans", partial(between_scans, _TABLE_16)),
    hostile("150,000 quantization tables", partial(before_image, segment(DQT, (b"\0" + b"\1" * 64) * 1000))),
    hostile("10 MB of junk between segments", partial(before_image, bytes(65536))),
    hostile("10 MB of fill bytes between segments", partial(before_image, b"\xff" * 65536), in_ci=True),
    hostile("a million frame headers", partial(before_image, frame(BASELINE, 64, 64, GREY))),
    hostile("EXIF in 400,000 pieces", exif_pieces, in_ci=True),
    hostile("EXIF of 1,500 tags with the same bytes", exif_same_bytes),
    hostile("EXIF orientation of 4.5 million numbers", lambda: exif(tiff(_ORIENTATIONS))),
    hostile("EXIF resolution of 1.1 million fractions", lambda: exif(tiff(_RATIONALS))),
    hostile("ICC profile in 150 pieces", partial(icc, 150)),
    hostile("ICC profile in 300,000 pieces", partial(icc, 300_000)),
    hostile("Photoshop blocks without end", partial(before_image, _PHOTOSHOP)),
    hostile("4,000 pictures that are not there", many_pictures),
)
