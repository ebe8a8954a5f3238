"""TIFF files of any two properties together, each against the same picture in 8-bit RGB."""

import random
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model.errors import NotAnImage
from model.images.decode import decode
from testing.photographs import encoded
from tests import tiff_files as tiff
from tests.pairwise import Row, pairwise
from tests.pictures import (
    CONTENTS,
    LARGE,
    ORIENTATION,
    ORIENTATIONS,
    SMALL,
    Content,
    Shares,
    as_image,
    colour_map,
    stored,
)
from tests.seeing import MAX_PIXELS, RECIPE, assert_first_label, assert_seen, named

TIFF_AXES: dict[str, Any] = {
    "content": list(CONTENTS.values()),
    "order": "<>",
    "packing": [tiff.PLAIN, tiff.LZW, tiff.DEFLATE, tiff.OLD_DEFLATE, tiff.PACKBITS],
    "predictor": [tiff.NONE, tiff.DIFFERENCES, tiff.FLOATING],
    "planes": [1, 2],
    "blocks": ["one-strip", "strips", "tiles"],
    "is_big": [False, True],
    "orientation": ORIENTATIONS,
}
ROWS_AND_TILE = {"one-strip": (0, 0), "strips": (16, 0), "tiles": (0, 32)}


PLAINEST: Row = {axis: values[0] for axis, values in TIFF_AXES.items()}


HAS_PLANES = {content.name: content.samples(SMALL).shape[-1] > 1 for content in CONTENTS.values()}


def may_be_a_tiff(row: Row) -> bool:
    """What TIFF 6.0 and Technical Note 3 define."""
    content, predictor, planes = row.get("content"), row.get("predictor", tiff.NONE), row.get("planes", 1)
    if predictor != tiff.NONE and row.get("packing", tiff.LZW) in (tiff.PLAIN, tiff.PACKBITS):
        return False
    if predictor == tiff.FLOATING and planes != 1:
        return False
    if content is None:
        return True
    if predictor != tiff.NONE and (content.bits < 8 or content.bits == 12):
        return False
    if predictor != tiff.NONE and (content.sample_format == 3) != (predictor == tiff.FLOATING):
        return False
    return planes == 1 or HAS_PLANES[content.name]


def tiff_file(row: Row, picture: Shares = SMALL, fill_order: int = 1) -> bytes:
    content: Content = row["content"]
    rows, tile = ROWS_AND_TILE[row["blocks"]]
    how = (row["order"], row["packing"], row["predictor"], row["planes"])
    layout = tiff.Layout(*how, tile, rows, row["is_big"], fill_order)
    tags: tiff.TagValues = {ORIENTATION: (3, [row["orientation"]]), **content.tags}
    if content.photometric == 3:
        tags = {**tags, **colour_map(picture, content.bits)}
    samples = stored(content.samples(picture), row["orientation"])
    return tiff.write(samples, content.bits, content.photometric, content.sample_format, layout, tags)


def refused_as(row: Row) -> str:
    """What the sentence says of a file that is refused, since its planes can't be put together; else ""."""
    name, is_plain = row["content"].name, row["packing"] == tiff.PLAIN
    is_refused = row["planes"] == 2 and (name.startswith("Lab") or (name.startswith("YCbCr") and is_plain))
    return "each in a plane of its own" if is_refused else ""


def assert_read_or_refused(row: Row) -> None:
    if words := refused_as(row):
        with pytest.raises(NotAnImage, match=words):
            decode(tiff_file(row), RECIPE, MAX_PIXELS)
    else:
        assert_seen(tiff_file(row), row["content"].seen(SMALL), row["content"].allowed)


TIFFS = pairwise(TIFF_AXES, may_be_a_tiff)


@pytest.mark.parametrize("row", TIFFS, ids=named)
def test_a_tiff_file(row: Row) -> None:
    assert_read_or_refused(row)


@pytest.mark.parametrize("packing", [tiff.PLAIN, tiff.DEFLATE])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=str)
def test_a_tiff_file_whose_bytes_begin_with_the_lowest_bit(content: Content, packing: int) -> None:
    """FillOrder 2: of fax machines, and what other programs write so; the rest is refused by its name."""
    file = tiff_file(PLAINEST | {"content": content, "packing": packing}, fill_order=2)
    if is_read_reversed(content, packing):
        assert_seen(file, content.seen(SMALL), content.allowed)
    else:
        with pytest.raises(NotAnImage, match=r"bit order|plane"):
            decode(file, RECIPE, MAX_PIXELS)


def is_read_reversed(content: Content, packing: int) -> bool:
    kinds = {f"{white}-is-zero-{bits}-bit-unsigned" for white in ("white", "black") for bits in (1, 2, 4)}
    kinds |= {"black-is-zero-8-bit-unsigned", "black-is-zero-16-bit-unsigned", "RGB-8-bit", "palette-8-bit"}
    packed = {"white-is-zero-8-bit-unsigned", "palette-1-bit", "palette-2-bit", "palette-4-bit"}
    return content.name in kinds or (packing != tiff.PLAIN and content.name in packed)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("packing", ["group3", "group4", "tiff_ccitt", "jpeg", "tiff_lzw", "lzma", "zstd"])
def test_a_tiff_file_that_libtiff_packs(packing: str, orientation: int) -> None:
    is_bilevel = packing in ("group3", "group4", "tiff_ccitt")
    picture = as_image(stored(SMALL, orientation), "1" if is_bilevel else "RGB")
    wanted = np.asarray(as_image(SMALL)) / 255
    if is_bilevel:
        bright = stored(SMALL.mean(-1) > 0.5, orientation)
        picture, wanted = Image.fromarray(bright), (SMALL.mean(-1, keepdims=True) > 0.5).astype(float)
    quality = {"quality": 98} if packing == "jpeg" else {}
    file = encoded(picture, "TIFF", compression=packing, tiffinfo={ORIENTATION: orientation}, **quality)
    assert_seen(file, wanted, 60 if packing == "jpeg" else 1, 4)


@pytest.mark.parametrize("row", random.Random(1).sample([row for row in TIFFS if not refused_as(row)], 16), ids=named)
def test_its_first_label(caller: httpx.Client, row: Row) -> None:
    assert_first_label(caller, tiff_file(row, LARGE), row["content"].seen(LARGE))
