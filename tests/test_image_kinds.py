"""Files of every kind, each against the same picture in 8-bit RGB: what is black and white is what the file says."""

import contextlib
import io
import random
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
from tests.image_kinds import KINDS, Kind, whole
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
