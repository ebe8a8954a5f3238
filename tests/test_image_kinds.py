"""Files of every kind, each against the same picture in 8-bit RGB: what is black and white is what the file says."""

import contextlib
import io
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.errors import NotAnImage
from model.images.decode import decode
from model.recipe import Recipe
from testing.photographs import COFFEE, encoded
from tests.answers import assert_problem
from tests.image_writers import bmp, png, tiff
from tests.tiff_files import DEFLATE

SIDE = 64
# As it is: no resizing stands between a file's pixels and what is seen of them.
RECIPE = Recipe(None, 3, SIDE, SIDE, 1.0, (0.0,) * 3, (1.0,) * 3)
MAX_PIXELS = 50_000_000

PHOTO = Image.open(COFFEE).convert("RGB")
GREY: NDArray[np.float64] = np.asarray(PHOTO.convert("L")) / 255
RGB: NDArray[np.float64] = np.asarray(PHOTO) / 255
SMALL_GREY = np.asarray(PHOTO.convert("L").resize((SIDE, SIDE))) / 255
SMALL_RGB = np.asarray(PHOTO.resize((SIDE, SIDE))) / 255

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


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_its_pixels_are_those_of_the_same_picture_in_8_bits(kind: Kind) -> None:
    shares = SMALL_GREY if kind.is_grey else SMALL_RGB
    wanted = np.broadcast_to((shares * 255).reshape(SIDE, SIDE, -1), (SIDE, SIDE, 3))
    # Half a step of its samples, half of one of 8 bits, and another that decoders cut off rather than round.
    allowed = 255 / (2**kind.bits - 1) / 2 + 1.5
    for exact in (True, False):
        seen = decode(kind.make(shares), RECIPE, MAX_PIXELS, exact).pixels
        assert np.abs(seen - wanted).max() <= allowed


@pytest.mark.parametrize("kind", random.Random(0).sample(KINDS, 24), ids=lambda kind: kind.name)
def test_its_first_label_is_that_of_the_same_picture_in_8_bits(caller: httpx.Client, kind: Kind) -> None:
    shares = GREY if kind.is_grey else RGB
    plain = np.asarray((shares * (2**kind.bits - 1)).round() * 255 / (2**kind.bits - 1)).round().astype(np.uint8)
    first = []
    for file in (encoded(Image.fromarray(plain)), kind.make(shares)):
        answer = caller.post("/v2/classify?top_k=1", content=file, headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == 200, answer.text
        first.append(answer.json()["predictions"][0]["label"])
    assert first[0] == first[1]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_dark_picture_stays_dark(bits: int) -> None:
    """However wide its samples are: its brightest pixel is not taken for white."""
    dark = np.linspace(0, 0.003, SIDE * SIDE).reshape(SIDE, SIDE)
    assert decode(tiff(whole(dark, bits), bits), RECIPE, MAX_PIXELS).pixels.max() <= 1
    if bits == 16:
        assert decode(png(whole(dark, bits), bits, 0), RECIPE, MAX_PIXELS).pixels.max() <= 1


def test_one_bright_pixel_changes_no_other() -> None:
    samples = whole(SMALL_GREY * 0.5, 32)
    plain = decode(tiff(samples, 32), RECIPE, MAX_PIXELS).pixels
    samples[0, 0] = 2**32 - 1
    bright = decode(tiff(samples, 32), RECIPE, MAX_PIXELS).pixels
    assert np.array_equal(plain[1:], bright[1:])
    assert bright[0, 0, 0] == 255


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_white(bits: int) -> None:
    """tRNS holds it in the file's own bits."""
    samples = whole(SMALL_GREY, bits)
    key = int(np.median(samples))
    seen = decode(png(samples, bits, 0, (key,)), RECIPE, MAX_PIXELS).pixels[..., 0]
    opaque = decode(png(samples, bits, 0), RECIPE, MAX_PIXELS).pixels[..., 0]
    assert (samples == key).any()
    assert np.array_equal(seen, np.where(samples == key, 255, opaque))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_is_white(bits: int) -> None:
    samples = whole(SMALL_RGB, bits)
    samples[10:30, 10:30] = (2**bits // 5, 2**bits // 3, 7)
    seen = decode(png(samples, bits, 2, tuple(samples[10, 10].tolist())), RECIPE, MAX_PIXELS).pixels
    assert (seen[10:30, 10:30] == 255).all()
    assert np.abs(seen[40:] - SMALL_RGB[40:] * 255).max() <= 1.5


def test_half_transparent_grey_that_is_multiplied_by_its_alpha() -> None:
    alpha = np.full((SIDE, SIDE), 128, "u1")
    file = tiff(np.stack([whole(SMALL_GREY * 128 / 255, 8), alpha], -1), 8, extra=1)
    wanted = (SMALL_GREY * 128 / 255 + 127 / 255) * 255
    assert np.abs(decode(file, RECIPE, MAX_PIXELS).pixels[..., 0] - wanted).max() <= 2.5


def test_what_is_no_number_is_black() -> None:
    samples = SMALL_GREY.astype("f4")
    samples[:5] = np.nan
    seen = decode(tiff(samples, 32, sample_format=3), RECIPE, MAX_PIXELS).pixels[..., 0]
    assert (seen[:5] == 0).all()
    assert np.abs(seen[5:] - SMALL_GREY[5:] * 255).max() <= 1


_BYTES = whole(SMALL_GREY, 8)
# What can't be read, and what its sentence says.
UNREADABLE = {
    "24-bit": tiff(_BYTES, 24, sample_format=3),
    "16-bit floating-point": tiff(SMALL_GREY.astype("f2"), 16, sample_format=3),
    "3 32-bit floating-point": tiff(SMALL_RGB.astype("f4"), 32, 2, 3),
    "complex": tiff(SMALL_GREY.astype("c8").view("f8"), 64, sample_format=6),
    "2 16-bit": tiff(whole(np.stack([SMALL_GREY] * 2, -1), 16), 16, photometric=0, extra=2),
    "WebP": tiff(_BYTES, 8, packing=50001),
    "JPEG 2000": tiff(_BYTES, 8, packing=34712),
    "LERC": tiff(_BYTES, 8, packing=34887),
    "compression 4711": tiff(_BYTES, 8, packing=4711),
    "raw camera": tiff(whole(SMALL_GREY, 16), 16, 32803),
    "go beyond 0 to 1,": tiff((SMALL_GREY * 255).astype("f4"), 32, sample_format=3),
    "go beyond 0 to 32767": tiff(((SMALL_GREY - 0.5) * 60000).astype("i2"), 16, sample_format=2),
    "a PNG file": bmp(np.zeros((8, 8), np.uint32), 32, (0, 0, 0), packing=5),
    "64 bits": bmp(np.zeros((8, 8), np.uint32), 64, (0, 0, 0), packing=0),
    "which bits": bmp(np.zeros((8, 8), np.uint32), 32, (0xFF, 0, 0xFF0000, 0)),
}


@pytest.mark.parametrize("tag", [258, 259, 262, 266, 277, 284, 338, 339])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300, 2.0**40])
def test_a_tag_that_is_no_such_number_does_no_harm(tag: int, value: float) -> None:
    """Whatever is made of the file, it is an image or one that can't be read, at once and in words."""
    for samples, bits in ((_BYTES, 8), (_BYTES, 24)):
        with contextlib.suppress(NotAnImage):
            decode(tiff(samples, bits, more={tag: (12, [value])}), RECIPE, MAX_PIXELS)


@pytest.mark.parametrize("said", UNREADABLE)
def test_what_can_not_be_read_is_told_by_its_name(said: str) -> None:
    with pytest.raises(NotAnImage) as told:
        decode(UNREADABLE[said], RECIPE, MAX_PIXELS)
    assert said in str(told.value)
    assert "damaged" not in str(told.value)


def test_nothing_that_a_decoder_writes_reaches_the_log(caller: httpx.Client, server: Any) -> None:
    before = len(server.log.read_text())
    # libtiff has a line for each of these.
    broken = io.BytesIO()
    PHOTO.save(broken, "TIFF", compression="tiff_lzw")
    files = [UNREADABLE["WebP"], broken.getvalue()[:8] + b"\xff" * 20_000 + broken.getvalue()[20_008:]]
    files.append(tiff(_BYTES, 8, packing=DEFLATE).replace(b"\x78\x9c", b"\x78\x00"))
    for file in files:
        answer = caller.post("/v2/classify", content=file, headers={"Content-Type": "image/tiff"})
        assert assert_problem(answer, 400)["field"] == "image"
    lines = server.log.read_text()[before:].splitlines()
    assert [line for line in lines if "/v2/classify" not in line] == []
