"""Hostile TIFF files: strips and tiles without end that share their bytes, tiles far larger than their image, tags."""

import io
import lzma
import struct
import zlib
from functools import cache, partial
from typing import TypeAlias

from PIL import Image

from tests.corpus import jpeg
from tests.corpus.file import MOST_BYTES, CorpusFile, deflated, tables_of_deflate
from tests.corpus.tiff_writer import DATA_AT, LONG, SHORT, Tags, Value, tiff

FULL = MOST_BYTES - 5000
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIPS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR, PREDICTOR = 273, 274, 277, 278, 279, 284, 317
COLOURS, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA, FORMAT = 320, 322, 323, 324, 325, 338, 339
RAW, GROUP4, LZW, OLD_JPEG, JPEG, DEFLATE = 1, 4, 5, 6, 7, 8
PACKBITS, LOGLUV, LZMA, ZSTD = 32773, 34676, 34925, 50000
BLACK_IS_0, RGB, PALETTE, YCBCR = 1, 2, 3, 6
FLOAT = 3

Size: TypeAlias = tuple[int, int]
Samples: TypeAlias = tuple[int, ...]
Tag: TypeAlias = tuple[int, Value]


def described(size: Size, compression: int, bits: Samples = (8,), photometric: int | None = None) -> dict[int, Tag]:
    """The tags that say what an image is."""
    meant = photometric if photometric is not None else (RGB if len(bits) > 2 else BLACK_IS_0)
    return {
        WIDTH: (LONG, [size[0]]),
        HEIGHT: (LONG, [size[1]]),
        BITS: (SHORT, list(bits)),
        COMPRESSION: (SHORT, [compression]),
        PHOTOMETRIC: (SHORT, [meant]),
        SAMPLES: (SHORT, [len(bits)]),
    }


def stripped(size: Size, compression: int, data: bytes, bits: Samples = (8,), tags: Tags | None = None) -> bytes:
    """One strip with the whole image; `tags` override the usual ones."""
    strip: dict[int, Tag] = {
        STRIPS: (LONG, [DATA_AT]),
        STRIP_BYTES: (LONG, [len(data)]),
        ROWS_PER_STRIP: (LONG, [size[1]]),
    }
    return tiff({**described(size, compression, bits), **strip, **(tags or {})}, data)


def shared_strips(size: Size, compression: int, data: bytes, number: int) -> bytes:
    """So many strips, all of the same bytes."""
    strips: dict[int, Tag] = {
        STRIPS: (LONG, struct.pack("<L", DATA_AT) * number),
        STRIP_BYTES: (LONG, struct.pack("<L", len(data)) * number),
        ROWS_PER_STRIP: (LONG, [-(-size[1] // number)]),
    }
    return tiff({**described(size, compression), **strips}, data)


def tiled(size: Size, tile: Size, compression: int, data: bytes, bits: Samples = (8,)) -> bytes:
    """As many tiles as it takes, all of the same bytes."""
    number = -(-size[0] // tile[0]) * -(-size[1] // tile[1])
    tiles: dict[int, Tag] = {
        TILE_WIDTH: (LONG, [tile[0]]),
        TILE_HEIGHT: (LONG, [tile[1]]),
        TILES: (LONG, struct.pack("<L", DATA_AT) * number),
        TILE_BYTES: (LONG, struct.pack("<L", len(data)) * number),
    }
    return tiff({**described(size, compression, bits), **tiles}, data)


def compressed(compression: int, zeros: int) -> bytes:
    """So many zeros."""
    if compression == DEFLATE:
        return deflated(bytes(2**18), -(-zeros // 2**18))
    if compression == PACKBITS:
        return b"\x81\0" * -(-zeros // 128)
    if compression == ZSTD:
        return zstd(zeros)
    if compression == LZMA:
        return xz(zeros)
    if compression == LZW:
        return lzw(zeros)
    return bytes(zeros)


def zstd(zeros: int) -> bytes:
    """A frame of blocks that repeat one byte: 4 bytes for each 128 KB."""
    header = b"\x28\xb5\x2f\xfd\x00\x38"
    blocks, last = divmod(zeros, 2**17)
    one = struct.pack("<L", (2**17 << 3) | 1 << 1)[:3] + b"\0"
    return header + one * blocks + struct.pack("<L", last << 3 | 1 << 1 | 1)[:3] + b"\0"


def xz(zeros: int) -> bytes:
    """A stream of the same block of up to a megabyte again and again; the index at its end is never looked at."""
    unit = min(zeros, 2**20)
    one = lzma.compress(bytes(unit), lzma.FORMAT_XZ, lzma.CHECK_NONE, preset=0)
    index = (int.from_bytes(one[-8:-4], "little") + 1) * 4
    header, block = one[:12], one[12 : -12 - index]
    return header + block * -(-zeros // unit) + one[-12 - index :]


@cache
def lzw(zeros: int) -> bytes:
    """As libtiff writes it, from a row."""
    made = io.BytesIO()
    Image.new("L", (zeros, 1)).save(made, "TIFF", compression="tiff_lzw")
    with Image.open(io.BytesIO(made.getvalue())) as opened:
        offsets, lengths = opened.tag_v2[STRIPS], opened.tag_v2[STRIP_BYTES]  # type: ignore[attr-defined]
    at, length = (offsets[0], lengths[0]) if isinstance(offsets, tuple) else (offsets, lengths)
    return made.getvalue()[at : at + length]


def vast(size: Size, compression: int, bits: Samples, tags: Tags | None = None) -> bytes:
    """A flat image in one strip."""
    row = -(-size[0] * sum(bits) // 8)
    return stripped(size, compression, compressed(compression, row * size[1]), bits, tags)


def oversized_tile(compression: int, edge: int, bits: Samples = (8,)) -> bytes:
    """A pixel, in a tile of so many squared."""
    return tiled((1, 1), (edge, edge), compression, compressed(compression, edge * edge * sum(bits) // 8), bits)


def in_planes(size: Size, bits: Samples, compression: int) -> bytes:
    """Each sample in a plane of its own, all of the same bytes."""
    data = compressed(compression, size[0] * size[1] * bits[0] // 8)
    number = len(bits)
    planes: dict[int, Tag] = {
        PLANAR: (SHORT, [2]),
        STRIPS: (LONG, [DATA_AT] * number),
        STRIP_BYTES: (LONG, [len(data)] * number),
    }
    if number in (2, 4):
        planes[EXTRA] = (SHORT, [2])
    elif number > 4:
        planes[EXTRA] = (SHORT, [2] + [0] * (number - 4))
    return stripped(size, compression, data, bits, tags=planes)


def thin_planes() -> bytes:
    """Planes of 1 x 500,000, each row a strip of its own."""
    planes: dict[int, Tag] = {
        PLANAR: (SHORT, [2]),
        EXTRA: (SHORT, [2]),
        STRIPS: (LONG, struct.pack("<L", DATA_AT) * 2_000_000),
        ROWS_PER_STRIP: (LONG, [1]),
    }
    return tiff({**described((1, 500_000), RAW, (16,) * 4), **planes}, b"\x80\x80")


def big_endian() -> bytes:
    """An image of 1 x 1,200,000, each row a strip of its own whose place is told with 64 bits."""
    number, at = 1_200_000, 16 + 8 + 20 * 7 + 8
    tags = [(WIDTH, 4, 1), (HEIGHT, 4, number), (BITS, 3, 8 << 16), (PHOTOMETRIC, 3, 1 << 16), (SAMPLES, 3, 1 << 16)]
    entries = [struct.pack(">HHQLL", tag, kind, 1, value, 0) for tag, kind, value in tags]
    entries.insert(4, struct.pack(">HHQQ", STRIPS, 16, number, at))
    entries.append(struct.pack(">HHQLL", ROWS_PER_STRIP, 4, 1, 1, 0))
    head = b"MM" + struct.pack(">HHHQQ", 43, 8, 0, 16, len(entries))
    return head + b"".join(entries) + bytes(8) + struct.pack(">Q", at) * number


def small(tags: Tags, compression: int = RAW) -> bytes:
    """An image of 64 x 64 with these tags beside its own."""
    return stripped((64, 64), compression, compressed(compression, 64 * 64), tags=tags)


def old_jpeg() -> bytes:
    """TIFF 6's own JPEG, of a file as a whole."""
    data = jpeg.flat(jpeg.BASELINE, (8000, 6000))
    tags: Tags = {513: (LONG, [DATA_AT]), 514: (LONG, [len(data)]), 512: (SHORT, [1])}
    return stripped((8000, 6000), OLD_JPEG, data, (8, 8, 8), {**tags, PHOTOMETRIC: (SHORT, [YCBCR])})


LARGE = (10_000, 5_000)
_TILE = zlib.compress(bytes(16 * 16))
_TILE_JPEG = jpeg.flat(jpeg.BASELINE, (16, 16), jpeg.GREY)
_TURNED: Tags = {ORIENTATION: (SHORT, [6])}
_ALPHA: Tags = {EXTRA: (SHORT, [2])}
_GREY_ALPHA: Tags = {**_ALPHA, PHOTOMETRIC: (SHORT, [BLACK_IS_0])}
_FLOATING: Tags = {FORMAT: (SHORT, [FLOAT])}

hostile = partial(CorpusFile, "TIFF")

FILES = (
    hostile("2 million tiles of 1 x 1", partial(tiled, (1100, 1100), (1, 1), RAW, b"\x80"), in_ci=True),
    hostile(
        "1.2 million strips of the same byte",
        partial(shared_strips, (1, 1_200_000), RAW, b"\x80", 1_200_000),
    ),
    hostile("600,000 strips, LZW", partial(shared_strips, (8, 600_000), LZW, lzw(8), 600_000)),
    hostile("600,000 strips, deflate", partial(shared_strips, (8, 600_000), DEFLATE, zlib.compress(bytes(8)), 600_000)),
    hostile("600,000 strips, zstd", partial(shared_strips, (8, 600_000), ZSTD, zstd(8), 600_000)),
    hostile("600,000 strips, LZMA", partial(shared_strips, (8, 600_000), LZMA, xz(8), 600_000), in_ci=True),
    hostile(
        "600,000 strips, JPEG",
        partial(shared_strips, (8, 600_000), JPEG, jpeg.flat(jpeg.BASELINE, (8, 1), jpeg.GREY), 600_000),
    ),
    hostile("200,000 tiles of 16 x 16, deflate", partial(tiled, LARGE, (16, 16), DEFLATE, _TILE)),
    hostile("200,000 tiles of 16 x 16, JPEG", partial(tiled, LARGE, (16, 16), JPEG, _TILE_JPEG)),
    hostile("a pixel in a tile of 400 MB, deflate", partial(oversized_tile, DEFLATE, 20_000)),
    hostile("a pixel in a tile of 2 GB, zstd", partial(oversized_tile, ZSTD, 45_000), in_ci=True),
    hostile("a pixel in a tile of 400 MB, LZMA", partial(oversized_tile, LZMA, 20_000)),
    hostile("a pixel in a tile of 400 MB, packed bits", partial(oversized_tile, PACKBITS, 20_000)),
    hostile("50 megapixels, deflate, 16-bit RGBA", partial(vast, LARGE, DEFLATE, (16,) * 4, _ALPHA)),
    hostile(
        "50 megapixels, deflate, 16-bit RGBA, predicted",
        partial(vast, LARGE, DEFLATE, (16,) * 4, {**_ALPHA, PREDICTOR: (SHORT, [2])}),
    ),
    hostile("50 megapixels, deflate, floating", partial(vast, LARGE, DEFLATE, (32,), _FLOATING), in_ci=True),
    hostile(
        "50 megapixels, deflate, floating, predicted",
        partial(vast, LARGE, DEFLATE, (32,), {**_FLOATING, PREDICTOR: (SHORT, [3])}),
    ),
    hostile("50 megapixels, deflate, 16-bit grey with alpha", partial(vast, LARGE, DEFLATE, (16,) * 2, _GREY_ALPHA)),
    hostile("50 megapixels in 2 planes, deflate, 16-bit", partial(in_planes, LARGE, (16,) * 2, DEFLATE)),
    hostile("2 million strips in 4 planes of the same bytes", thin_planes, in_ci=True),
    hostile("1.2 million strips of a big-endian BigTIFF", big_endian, in_ci=True),
    hostile("50 megapixels, deflate, 32-bit", partial(vast, LARGE, DEFLATE, (32,))),
    hostile("50 megapixels, deflate, 16-bit grey", partial(vast, LARGE, DEFLATE, (16,))),
    hostile("50 megapixels, deflate, 12-bit grey", partial(vast, LARGE, DEFLATE, (12,))),
    hostile("50 megapixels, deflate, 6 samples", partial(vast, LARGE, DEFLATE, (8,) * 6, {EXTRA: (SHORT, [2, 0, 0])})),
    hostile("50 megapixels, deflate, turned", partial(vast, LARGE, DEFLATE, (8,) * 3, _TURNED)),
    hostile(
        "50 megapixels, deflate, YCbCr",
        partial(vast, LARGE, DEFLATE, (8,) * 3, {PHOTOMETRIC: (SHORT, [YCBCR]), 530: (SHORT, [1, 1])}),
    ),
    hostile(
        "50 megapixels, deflate, palette",
        partial(vast, LARGE, DEFLATE, (8,), {PHOTOMETRIC: (SHORT, [PALETTE]), COLOURS: (SHORT, bytes(1536))}),
    ),
    hostile("50 megapixels, zstd, 16-bit RGBA", partial(vast, LARGE, ZSTD, (16,) * 4, _ALPHA)),
    hostile("50 megapixels, LZMA", partial(vast, LARGE, LZMA, (8,))),
    hostile("50 megapixels, packed bits, RGB", partial(vast, LARGE, PACKBITS, (8,) * 3)),
    hostile("50 megapixels, 16-bit planes", partial(in_planes, LARGE, (16,) * 3, DEFLATE)),
    hostile("50 megapixels, 5 planes", partial(in_planes, LARGE, (8,) * 5, DEFLATE)),
    hostile("50 megapixels, group 4", lambda: stripped(LARGE, GROUP4, b"\xff" * 625, (1,))),
    hostile("1 x 50,000,000, group 4", lambda: stripped((1, 50_000_000), GROUP4, b"\xff" * 6_250_000, (1,))),
    hostile("1 x 50,000,000, deflate", partial(vast, (1, 50_000_000), DEFLATE, (8,))),
    hostile("50,000,000 x 1, deflate", partial(vast, (50_000_000, 1), DEFLATE, (8,))),
    hostile("48 megapixels, old JPEG", old_jpeg),
    hostile(
        "50 megapixels, LogL",
        lambda: stripped(LARGE, LOGLUV, b"\x81\0" * 1_600_000, (16,), {PHOTOMETRIC: (SHORT, [32844])}),
    ),
    hostile("tables of deflate without end", lambda: stripped((5000, 5000), DEFLATE, tables_of_deflate(FULL))),
)
