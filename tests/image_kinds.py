"""Kinds of image files, each of which a picture can be written as: grey and coloured, of every depth."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.image_writers import bmp, png, tiff
from tests.tiff_files import DEFLATE

Make = Callable[[NDArray[np.float64]], bytes]


def whole(shares: NDArray[np.float64], bits: int, kind: str = "u") -> NDArray[Any]:
    """Samples of so many bits, white the greatest."""
    greatest = 2 ** (bits - (kind == "i")) - 1
    return (shares * greatest).round().astype(f"{kind}{max(1, (bits + 7) // 8 if bits != 12 else 2)}")


@dataclass(frozen=True)
class Kind:
    """A kind of file: how it is written from a picture's shares of white, and how coarse its samples are."""

    name: str
    make: Make
    is_grey: bool = True
    bits: int = 8


def tiff_kind(depth: tuple[int, int], photometric: int, order: str, packing: int) -> Kind:
    """A grey TIFF file of that depth and sample format."""
    bits, sample_format = depth

    def make(shares: NDArray[np.float64]) -> bytes:
        told = 1 - shares if photometric == 0 else shares
        if sample_format == 3:
            samples: NDArray[Any] = told.astype(f"f{bits // 8}")
        else:
            samples = whole(told, bits, "i" if sample_format == 2 else "u")
        return tiff(samples, bits, photometric, sample_format, packing, order)

    name = f"TIFF-{bits}-bit-{('', 'unsigned', 'signed', 'float')[sample_format]}"
    kind = "white-is-zero" if photometric == 0 else "black-is-zero"
    return Kind(f"{name}-{kind}-{order}-{'deflate' if packing == DEFLATE else 'plain'}", make, bits=min(bits, 8))


# Bits and sample format: unsigned, signed, floating-point.
DEPTHS = [(1, 1), (2, 1), (4, 1), (8, 1), (12, 1), (16, 1), (32, 1), (8, 2), (16, 2), (32, 2), (32, 3), (64, 3)]
GREY_TIFFS = [tiff_kind(*axes) for axes in itertools.product(DEPTHS, (0, 1), "<>", (1, DEFLATE))]


def with_stated_range(shares: NDArray[np.float64]) -> bytes:
    more = {340: (11, [-3.0]), 341: (11, [250.0])}
    return tiff((shares * 253 - 3).astype("f4"), 32, sample_format=3, more=more)


def signed_with_stated_range(shares: NDArray[np.float64]) -> bytes:
    more = {340: (8, [-32768]), 341: (8, [32767])}
    return tiff((shares * 65535 - 32768).round().astype("i2"), 16, sample_format=2, more=more)


def premultiplied(shares: NDArray[np.float64]) -> bytes:
    alpha = np.full(shares.shape, 255, "u1")
    return tiff(np.stack([whole(shares, 8), alpha], -1), 8, extra=1)


def grey_png(bits: int) -> Kind:
    return Kind(f"PNG-{bits}-bit-grey", lambda shares: png(whole(shares, bits), bits, 0), bits=min(bits, 8))


OTHER_GREYS = [
    Kind("TIFF-float-with-a-stated-range", with_stated_range),
    Kind("TIFF-signed-with-a-stated-range", signed_with_stated_range),
    Kind("TIFF-grey-multiplied-by-its-alpha", premultiplied),
    *(grey_png(bits) for bits in (1, 2, 4, 8, 16)),
]


def field_bmp(name: str, bits: int, masks: tuple[int, ...], size: int = 108, packing: int = 3) -> Kind:
    """A BMP file whose colours lie where the masks say."""

    def make(shares: NDArray[np.float64]) -> bytes:
        numbers = np.zeros(shares.shape[:2], np.uint32)
        for band, mask in enumerate(masks[:3]):
            lowest = (mask & -mask).bit_length() - 1
            numbers |= (shares[..., band] * (mask >> lowest)).round().astype(np.uint32) << np.uint32(lowest)
        numbers |= np.uint32(masks[3] if len(masks) > 3 else 0)
        return bmp(numbers, bits, masks, size, packing, top_down=packing == 6)

    return Kind(f"BMP-{name}", make, False, min(mask.bit_count() for mask in masks[:3]))


def rgb_tiff(bits: int, planes: int, order: str) -> Kind:
    def make(shares: NDArray[np.float64]) -> bytes:
        return tiff(whole(shares, bits), bits, 2, order=order, planes=planes, packing=DEFLATE)

    return Kind(f"TIFF-{bits}-bit-RGB-{planes}-planes-{order}", make, False)


COLOURED = [
    *(rgb_tiff(*axes) for axes in itertools.product((8, 16), (1, 2), "<>")),
    Kind("PNG-16-bit-RGB", lambda shares: png(whole(shares, 16), 16, 2), False),
    field_bmp("565", 16, (0xF800, 0x7E0, 0x1F, 0)),
    field_bmp("555", 16, (0x7C00, 0x3E0, 0x1F, 0)),
    field_bmp("4444", 16, (0xF00, 0xF0, 0xF, 0xF000)),
    field_bmp("565-blue-first", 16, (0x1F, 0x7E0, 0xF800, 0)),
    field_bmp("24-bits-red-last", 24, (0xFF, 0xFF00, 0xFF0000, 0)),
    field_bmp("10-10-10", 32, (0x3FF00000, 0xFFC00, 0x3FF, 0)),
    field_bmp("10-10-10-2", 32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
    field_bmp("red-last", 32, (0xFF, 0xFF00, 0xFF0000, 0)),
    field_bmp("40-byte-header", 32, (0xFF, 0xFF00, 0xFF0000), 40),
    field_bmp("alpha-fields-top-down", 32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000), 40, 6),
]
KINDS = [*GREY_TIFFS, *OTHER_GREYS, *COLOURED]
