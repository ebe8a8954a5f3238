"""The table of image files that a hostile caller might send, of large ordinary ones, and of batches of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.corpus import bmp, gif, jpeg, mixed, ordinary, png, tiff, tiff_tags, webp
from tests.corpus.file import MOST_BYTES, CorpusFile

HOSTILE: tuple[CorpusFile, ...] = (
    *jpeg.FILES,
    *png.FILES,
    *webp.FILES,
    *gif.FILES,
    *bmp.FILES,
    *tiff.FILES,
    *tiff_tags.FILES,
    *mixed.FILES,
)
ORDINARY: tuple[CorpusFile, ...] = ordinary.FILES

# What a multipart body takes beside each image.
_BETWEEN = 200


@dataclass(frozen=True)
class Batch:
    """Images that are sent together.

    Attributes:
        name: what they are.
        make: their bytes.
        may_be: the statuses that each may have.
        in_ci: whether it is tried in every run.
    """

    name: str
    make: Callable[[], list[bytes]]
    may_be: frozenset[int]
    in_ci: bool = False

    @property
    def id(self) -> str:
        return self.name.replace(" ", "-").replace(",", "")


def named(name: str) -> CorpusFile:
    """The file of that id."""
    [found] = [file for file in (*HOSTILE, *ORDINARY) if file.id == name]
    return found


def _fitting(files: tuple[str, ...]) -> list[bytes]:
    """Up to 32 of the files in turn, as many as a body may hold."""
    made, size = [named(name).make() for name in files], 0
    images: list[bytes] = []
    for number in range(32):
        image = made[number % len(made)]
        size += len(image) + _BETWEEN
        if size > MOST_BYTES:
            break
        images.append(image)
    return images


def _of(*files: str, in_ci: bool = False) -> Batch:
    may_be = frozenset[int]().union(*(named(name).may_be for name in files))
    return Batch(f"32 of {files[0]}" if len(files) == 1 else "all kinds", partial(_fitting, files), may_be, in_ci)


BATCHES = (
    _of("PNG-1-x-2000000", in_ci=True),
    _of("PNG-1-x-400000"),
    _of("PNG-50-megapixels-16-bit-RGBA"),
    _of("PNG-50-megapixels-interlaced-16-bit-RGBA"),
    _of("JPEG-60000-empty-scans-of-1-megapixel"),
    _of("JPEG-15-refinements-of-50-megapixels", in_ci=True),
    _of("JPEG-first-scan-alone-50-megapixels"),
    _of("JPEG-no-data-50-megapixels"),
    _of("JPEG-arithmetic-no-data-50-megapixels"),
    _of("WEBP-50-megapixels-all-transforms"),
    _of("WEBP-16384-groups-of-codes"),
    _of("GIF-50-megapixels"),
    _of("BMP-a-line-end-in-50000000-x-1"),
    _of("TIFF-a-pixel-in-a-tile-of-2-GB-zstd"),
    _of("TIFF-4000-unknown-tags-deflate"),
    _of("TIFF-50-megapixels-group-4"),
    _of(
        "PNG-1-x-2000000",
        "JPEG-4000-empty-scans-of-1-megapixel",
        "WEBP-50-megapixels-all-transforms",
        "GIF-frame-of-65535-x-65535-on-a-screen-of-64-x-64",
        "BMP-a-line-end-in-50000000-x-1",
        "TIFF-a-pixel-in-a-tile-of-2-GB-zstd",
        in_ci=True,
    ),
)
