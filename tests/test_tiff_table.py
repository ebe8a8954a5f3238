"""TIFF files of every layout that samples may have, each against the same picture in 8-bit RGB.

Depth, planes, byte order, BigTIFF, packing, and strips or tiles are known to meet, so all of them are tried together.
"""

import contextlib
import itertools
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from model.errors import NotAnImage, TooManyPixels
from model.images.decode import decode
from tests import tiff_files as tiff
from tests.pairwise import Row
from tests.pictures import CONTENTS, HEIGHT, LARGE, SMALL, WIDTH, Content, grey, on_white, opacity, whole
from tests.seeing import MAX_PIXELS, RECIPE, assert_first_label, assert_seen, named
from tests.test_tiff_pairs import HAS_PLANES, PLAINEST, ROWS_AND_TILE, assert_read_or_refused, may_be_a_tiff, tiff_file

PACKINGS = [tiff.PLAIN, tiff.LZW, tiff.DEFLATE]
WITH_PLANES = [content for content in CONTENTS.values() if HAS_PLANES[content.name]]
ALPHA, UNSPECIFIED, MULTIPLIED, SEPARATE = 338, 0, 1, 2


def rows(contents: list[Content], **axes: list[Any]) -> Iterator[Row]:
    """All files of these contents and properties, and of every packing in strips and tiles."""
    axes = {"content": contents, "packing": PACKINGS, "blocks": list(ROWS_AND_TILE), **axes}
    for values in itertools.product(*axes.values()):
        row = PLAINEST | dict(zip(axes, values, strict=True))
        if may_be_a_tiff(row):
            yield row


@pytest.mark.parametrize("row", rows(WITH_PLANES, planes=[1, 2], order=["<", ">"], is_big=[False, True]), ids=named)
def test_samples_together_and_in_planes(row: Row) -> None:
    assert_read_or_refused(row)


@pytest.mark.parametrize(
    "row", rows(list(CONTENTS.values()), packing=[tiff.PLAIN, tiff.DEFLATE], order=[">"], is_big=[True]), ids=named
)
def test_a_big_endian_bigtiff(row: Row) -> None:
    assert_read_or_refused(row)


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in rows(WITH_PLANES, planes=[1, 2], order=["<", ">"], predictor=[tiff.DIFFERENCES], is_big=[True])
        if row["content"].bits == 16
    ],
    ids=named,
)
def test_samples_of_16_bits_as_differences(row: Row) -> None:
    assert_read_or_refused(row)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("name", ["grey-alpha-separate-16-bit", "RGBA-separate-16-bit", "CMYK-16-bit"])
def test_it_is_upright(name: str, planes: int, orientation: int) -> None:
    axes = {"content": CONTENTS[name], "planes": planes, "orientation": orientation, "blocks": "tiles"}
    assert_read_or_refused(PLAINEST | axes)
    assert_read_or_refused(PLAINEST | axes | {"order": ">", "is_big": True})


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ["grey", "RGB"])
def test_an_extra_sample_that_is_unspecified_is_passed_over(name: str, bits: int, planes: int) -> None:
    seen = grey(SMALL) if name == "grey" else SMALL
    samples = whole(np.concatenate([seen, opacity(SMALL)], -1), bits)
    for order, packing in itertools.product("<>", PACKINGS):
        layout = tiff.Layout(order, packing, planes=planes)
        file = tiff.write(samples, bits, 1 if name == "grey" else 2, 1, layout, {ALPHA: (3, [UNSPECIFIED])})
        assert_seen(file, seen, 1.5)


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("order", "<>")
def test_bits_that_are_told_once_are_those_of_all_samples(order: str, planes: int) -> None:
    samples = whole(np.concatenate([grey(SMALL), opacity(SMALL)], -1), 16)
    tags: tiff.TagValues = {ALPHA: (3, [SEPARATE]), 258: (3, [16]), 339: (3, [1])}
    file = tiff.write(samples, 16, 1, 1, tiff.Layout(order, planes=planes), tags)
    assert_seen(file, on_white(grey(SMALL)), 1.5)


_GREY_ALPHA = whole(np.concatenate([grey(SMALL), opacity(SMALL)], -1), 16)
_FIVE = whole(np.concatenate([SMALL, opacity(SMALL), opacity(SMALL)], -1), 8)
_PLANES, _PACKED_PLANES = tiff.Layout(planes=2), tiff.Layout(packing=tiff.DEFLATE, planes=2)
REFUSED = {
    "white-is-zero-with-alpha": tiff.write(_GREY_ALPHA, 16, 0, more={ALPHA: (3, [SEPARATE])}),
    "white-is-zero-with-alpha-in-planes": tiff.write(_GREY_ALPHA, 16, 0, 1, _PLANES, {ALPHA: (3, [SEPARATE])}),
    "alpha-that-is-not-the-first-extra": tiff.write(_FIVE, 8, 2, 1, _PLANES, {ALPHA: (3, [UNSPECIFIED, SEPARATE])}),
    "alpha-that-is-not-the-first-extra-packed": tiff.write(
        _FIVE, 8, 2, 1, _PACKED_PLANES, {ALPHA: (3, [UNSPECIFIED, SEPARATE])}
    ),
    "two-alphas": tiff.write(_FIVE, 8, 2, 1, _PLANES, {ALPHA: (3, [SEPARATE, MULTIPLIED])}),
    "planes-of-32-bits": tiff.write(whole(SMALL, 32), 32, 2, 1, _PLANES),
    "planes-of-32-bits-packed": tiff.write(whole(SMALL, 32), 32, 2, 1, _PACKED_PLANES),
    "floating-point-planes": tiff.write(SMALL.astype("f4"), 32, 2, 3, _PLANES),
    "signed-planes": tiff.write(whole(SMALL, 16, "i"), 16, 2, 2, _PLANES),
    "an-extra-plane-that-is-not-told": tiff.write(_GREY_ALPHA, 16, 1, 1, _PLANES),
    "CMYK-with-alpha-in-planes": tiff.write(_FIVE, 8, 5, 1, _PLANES, {ALPHA: (3, [SEPARATE])}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_read_is_told_by_its_name(name: str) -> None:
    with pytest.raises(NotAnImage, match=r"A TIFF file that holds (grey|RGB|CMYK) with \d \d+-bit \S+ samples") as told:
        decode(REFUSED[name], RECIPE, MAX_PIXELS)
    assert "damaged" not in str(told.value)


_CUT = PLAINEST | {"content": CONTENTS["RGB-16-bit"], "order": ">", "is_big": True}


@pytest.mark.parametrize("row", [_CUT, _CUT | {"planes": 2}, _CUT | {"planes": 2, "is_big": False}], ids=named)
@pytest.mark.parametrize("share", [0.0, 0.0005, 0.002, 0.01, 0.02, 0.3, 0.6, 0.95])
def test_what_is_cut_off_is_refused(row: Row, share: float) -> None:
    file = tiff_file(row)
    with pytest.raises(NotAnImage):
        decode(file[: 4 + int(share * len(file))], RECIPE, MAX_PIXELS)


@pytest.mark.parametrize("row", [_CUT, _CUT | {"planes": 2}], ids=named)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_too_large_is_told_before_it_is_decoded(row: Row) -> None:
    with pytest.raises(TooManyPixels, match=f"{WIDTH} x {HEIGHT} pixels"):
        decode(tiff_file(row), RECIPE, WIDTH * HEIGHT - 1)


def test_a_plane_that_is_missing_is_told() -> None:
    file = tiff_file(PLAINEST | {"content": CONTENTS["RGB-16-bit"], "planes": 2, "blocks": "strips"})
    # The tag StripOffsets, with one strip fewer.
    at = next(at for at in range(8, 400, 2) if file[at : at + 4] == struct.pack("<HH", 273, 4))
    [strips] = struct.unpack_from("<I", file, at + 4)
    with pytest.raises(NotAnImage, match="damaged"):
        decode(file[: at + 4] + struct.pack("<I", strips - 1) + file[at + 8 :], RECIPE, MAX_PIXELS)


@pytest.mark.parametrize("count", [2**60, 2**64 - 1])
@pytest.mark.parametrize("tag", [258, 273, 279])
def test_a_tag_of_endless_numbers_does_no_harm(tag: int, count: int) -> None:
    file = tiff_file(_CUT)
    at = next(at for at in range(16, 600) if file[at : at + 2] == struct.pack(">H", tag))
    with contextlib.suppress(NotAnImage):
        decode(file[: at + 4] + struct.pack(">Q", count) + file[at + 12 :], RECIPE, MAX_PIXELS)


_LABELLED = ["grey-alpha-separate-16-bit", "grey-alpha-multiplied-16-bit", "RGB-16-bit", "RGBA-separate-16-bit"]


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("name", _LABELLED)
def test_its_first_label(caller: httpx.Client, name: str, planes: int) -> None:
    axes = {"content": CONTENTS[name], "planes": planes, "packing": tiff.LZW, "order": ">", "is_big": True}
    assert_first_label(caller, tiff_file(PLAINEST | axes, LARGE), CONTENTS[name].seen(LARGE))
