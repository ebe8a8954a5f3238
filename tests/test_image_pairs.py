"""Files of any two properties together, each against the same picture in 8-bit RGB."""

import random
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.errors import NotAnImage
from model.image import decode
from model.recipe import Recipe
from tests import tiff_files as tiff
from tests.image_writers import PngLayout, chunk, palette_bmp, png
from tests.pairwise import Row, pairwise
from tests.photographs import encoded
from tests.pictures import (
    HEIGHT,
    LARGE,
    ORIENTATIONS,
    SMALL,
    WIDTH,
    Content,
    Shares,
    colour_map,
    coloured,
    greys,
    palette_of,
    stored,
)

MAX_PIXELS = 50_000_000
# As it is: no resizing stands between a file's pixels and what is seen of them.
RECIPE = Recipe(None, Image.Resampling.BILINEAR, HEIGHT, WIDTH, 1.0, (0.0,) * 3, (1.0,) * 3)
CONTENTS = {content.name: content for content in (*greys(), *coloured())}
_ORIENTATION = 0x0112


def named(row: Row) -> str:
    return "-".join(str(value) for value in row.values())


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[_ORIENTATION] = orientation
    return made.tobytes()


def as_image(shares: Shares, mode: str = "RGB") -> Image.Image:
    return Image.fromarray((shares * 255).round().astype(np.uint8)).convert(mode)


def assert_seen(file: bytes, wanted: Shares, most: float, on_average: float = 255) -> None:
    """Check that the file, decoded to the pixel and quickly, shows what is wanted, in shares of white."""
    for exact in (True, False):
        seen = decode(file, RECIPE, MAX_PIXELS, exact)
        assert (seen.width, seen.height) == (WIDTH, HEIGHT)
        off = np.abs(seen.pixels - wanted * 255)
        assert off.max() <= most
        assert off.mean() <= on_average


# TIFF


def _is_grey_alpha_of_16_bits(content: Content) -> bool:
    return content.name.startswith("grey-alpha") and content.bits == 16


TIFF_AXES: dict[str, Any] = {
    # (Grey of 16 bits with alpha is refused by its name: see `test_image_kinds.py`.)
    "content": [content for content in CONTENTS.values() if not _is_grey_alpha_of_16_bits(content)],
    "order": "<>",
    "packing": [tiff.PLAIN, tiff.LZW, tiff.DEFLATE, tiff.OLD_DEFLATE, tiff.PACKBITS],
    "predictor": [tiff.NONE, tiff.DIFFERENCES, tiff.FLOATING],
    "planes": [1, 2],
    "blocks": ["one-strip", "strips", "tiles"],
    "is_big": [False, True],
    "orientation": ORIENTATIONS,
}
_BLOCKS: dict[str, dict[str, int]] = {"one-strip": {}, "strips": {"rows": 16}, "tiles": {"tile": 32}}


PLAINEST: Row = {axis: values[0] for axis, values in TIFF_AXES.items()}


def has_planes(content: Content) -> bool:
    return content.samples(SMALL).shape[-1] > 1


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
    return planes == 1 or has_planes(content)


def tiff_file(row: Row, picture: Shares = SMALL, fill_order: int = 1) -> bytes:
    content: Content = row["content"]
    blocks = _BLOCKS[row["blocks"]]
    how = (row["order"], row["packing"], row["predictor"], row["planes"])
    layout = tiff.Layout(*how, is_big=row["is_big"], fill_order=fill_order, **blocks)
    tags: tiff.TagValues = {274: (3, [row["orientation"]]), **content.tags}
    if content.photometric == 3:
        tags = {**tags, **colour_map(picture, content.bits)}
    samples = stored(content.samples(picture), row["orientation"])
    return tiff.write(samples, content.bits, content.photometric, content.sample_format, layout, tags)


TIFFS = pairwise(TIFF_AXES, may_be_a_tiff)


@pytest.mark.parametrize("row", TIFFS, ids=named)
def test_a_tiff_file(row: Row) -> None:
    assert_seen(tiff_file(row), row["content"].seen(SMALL), row["content"].allowed)


@pytest.mark.parametrize("blocks", _BLOCKS)
@pytest.mark.parametrize("packing", [tiff.PLAIN, tiff.DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("content", [content for content in TIFF_AXES["content"] if has_planes(content)], ids=str)
def test_a_tiff_file_of_planes(content: Content, order: str, packing: int, blocks: str) -> None:
    row = PLAINEST | {"content": content, "order": order, "packing": packing, "planes": 2, "blocks": blocks}
    assert_seen(tiff_file(row), content.seen(SMALL), content.allowed)


@pytest.mark.parametrize("packing", [tiff.PLAIN, tiff.DEFLATE])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=str)
def test_a_tiff_file_whose_bytes_begin_with_the_lowest_bit(content: Content, packing: int) -> None:
    """FillOrder 2 is of bilevel files, from fax machines; all others are read, or refused by its name."""
    file = tiff_file(PLAINEST | {"content": content, "packing": packing}, fill_order=2)
    if content.bits > 1:
        try:
            decode(file, RECIPE, MAX_PIXELS)
        except NotAnImage as refused:
            said = str(refused)
            assert "bit order" in said, said
            return
    assert_seen(file, content.seen(SMALL), content.allowed)


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
    file = encoded(picture, "TIFF", compression=packing, tiffinfo={_ORIENTATION: orientation}, **quality)
    assert_seen(file, wanted, 60 if packing == "jpeg" else 1, 4)


# PNG

GREY, TRUE_COLOUR, PALETTE, GREY_ALPHA, TRUE_COLOUR_ALPHA = 0, 2, 3, 4, 6
# Type of colours, and the content in TIFF's words.
_PNGS = {
    **{f"grey-{bits}": (GREY, CONTENTS[f"black-is-zero-{bits}-bit-unsigned"]) for bits in (1, 2, 4, 8, 16)},
    **{f"RGB-{bits}": (TRUE_COLOUR, CONTENTS[f"RGB-{bits}-bit"]) for bits in (8, 16)},
    **{f"palette-{bits}": (PALETTE, CONTENTS[f"palette-{bits}-bit"]) for bits in (1, 2, 4, 8)},
    **{f"grey-alpha-{bits}": (GREY_ALPHA, CONTENTS[f"grey-alpha-separate-{bits}-bit"]) for bits in (8, 16)},
    **{f"RGBA-{bits}": (TRUE_COLOUR_ALPHA, CONTENTS[f"RGBA-separate-{bits}-bit"]) for bits in (8, 16)},
}
_LONG_TEXT = b"Comment\0\0" + zlib.compress(bytes(3_000_000))
_ODD = {
    "nothing-else": b"",
    "gamma": chunk(b"gAMA", (45455).to_bytes(4)),
    "a-long-profile": chunk(b"iCCP", b"a profile\0\0" + zlib.compress(bytes(3_000_000))),
    "a-long-text": chunk(b"zTXt", _LONG_TEXT),
    "a-text-with-a-bad-checksum": chunk(b"tEXt", b"Comment\0words")[:-4] + bytes(4),
    "a-private-chunk": chunk(b"prVt", bytes(20)),
    "a-background": chunk(b"bKGD", bytes(6)),
}
PNG_AXES: dict[str, Any] = {
    "content": list(_PNGS),
    "is_interlaced": [False, True],
    "filter": [0, 1, 2, 3, 4],
    "piece": [0, 7, 300],
    "odd": list(_ODD),
    "orientation": ORIENTATIONS,
    "exif": ["before", "after"],
}


def png_file(row: Row, picture: Shares = SMALL) -> bytes:
    colours, content = _PNGS[row["content"]]
    palette = palette_of(picture, content.bits)[1].tobytes() if colours == PALETTE else b""
    about = chunk(b"eXIf", exif(row["orientation"]).removeprefix(b"Exif\0\0"))
    around = {"before": _ODD[row["odd"]], "after": b""}
    around[row["exif"]] += about
    # (As many pieces, whatever the picture's size.)
    piece = row["piece"] * (picture.size // SMALL.size)
    layout = PngLayout(row["is_interlaced"], row["filter"], piece, **around)
    samples = stored(content.samples(picture), row["orientation"])
    return png(samples, content.bits, colours, palette=palette, layout=layout)


PNGS = pairwise(PNG_AXES)


@pytest.mark.parametrize("row", PNGS, ids=named)
def test_a_png_file(row: Row) -> None:
    content = _PNGS[row["content"]][1]
    assert_seen(png_file(row), content.seen(SMALL), content.allowed)


@pytest.mark.parametrize("is_interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_png_palette_with_alpha(bits: int, is_interlaced: bool) -> None:
    """Fewer alphas than colours are allowed: the others are opaque."""
    places, colours = palette_of(SMALL, bits)
    alphas = np.linspace(0, 255, 2**bits).round().astype(int)[: 2**bits // 2]
    layout = PngLayout(is_interlaced)
    file = png(places, bits, PALETTE, tuple(alphas.tolist()), colours.tobytes(), layout)
    alpha = np.pad(alphas, (0, 2**bits - len(alphas)), constant_values=255)[places[..., 0]][..., None] / 255
    assert_seen(file, colours[places[..., 0]] / 255 * alpha + 1 - alpha, 1.5)


# BMP


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "runs"])
@pytest.mark.parametrize("header_size", [12, 40, 52, 56, 64, 108, 124])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_bmp_file_of_a_palette(bits: int, header_size: int, is_packed: bool) -> None:
    if is_packed and (bits == 1 or header_size == 12):
        return
    places, colours = palette_of(SMALL, bits)
    file = palette_bmp(places[..., 0], bits, colours, header_size, is_packed)
    assert_seen(file, colours[places[..., 0]] / 255, 0.5)


# JPEG, GIF and WebP, which Pillow writes

JPEG_AXES: dict[str, Any] = {
    "mode": ["L", "RGB", "CMYK"],
    "progressive": [False, True],
    "subsampling": [0, 1, 2],
    "restart_marker_rows": [0, 1],
    "keep_rgb": [False, True],
    "orientation": ORIENTATIONS,
}
JPEGS = pairwise(JPEG_AXES, lambda row: not row.get("keep_rgb") or row.get("mode") in (None, "RGB"))


def jpeg_file(row: Row, picture: Shares = SMALL) -> bytes:
    options = {axis: row[axis] for axis in ("progressive", "subsampling", "restart_marker_rows", "keep_rgb")}
    if row["keep_rgb"]:
        options["subsampling"] = 0
    image = as_image(stored(picture, row["orientation"]), row["mode"])
    return encoded(image, "JPEG", quality=98, exif=exif(row["orientation"]), **options)


@pytest.mark.parametrize("row", JPEGS, ids=named)
def test_a_jpeg_file(row: Row) -> None:
    wanted = np.asarray(as_image(SMALL, "L"))[..., None] / 255 if row["mode"] == "L" else SMALL
    assert_seen(jpeg_file(row), wanted, 130, 6)


GIF_AXES: dict[str, Any] = {
    "colours": [2, 4, 16, 200, 256],
    "interlace": [0, 1],
    "transparency": [None, 0, 1],
    "frames": [1, 2],
    "disposal": [0, 1, 2, 3],
}


@pytest.mark.parametrize("row", pairwise(GIF_AXES), ids=named)
def test_a_gif_file(row: Row) -> None:
    image = as_image(SMALL).quantize(row["colours"], dither=Image.Dither.NONE)
    wanted: NDArray[Any] = np.asarray(image.convert("RGB")) / 255
    options: dict[str, Any] = {"interlace": row["interlace"], "disposal": row["disposal"]}
    if row["transparency"] is not None:
        options["transparency"] = row["transparency"]
        wanted = np.where(np.asarray(image)[..., None] == row["transparency"], 1.0, wanted)
    if row["frames"] > 1:
        options |= {"save_all": True, "append_images": [Image.new("RGB", image.size, "red")]}
    assert_seen(encoded(image, "GIF", optimize=False, **options), wanted, 0.5)


WEBP_AXES: dict[str, Any] = {
    "mode": ["RGB", "RGBA"],
    "lossless": [False, True],
    "method": [0, 4],
    "frames": [1, 2],
    "orientation": ORIENTATIONS,
}
WEBPS = pairwise(WEBP_AXES)


def webp_file(row: Row, picture: Shares = SMALL) -> bytes:
    content = CONTENTS["RGBA-separate-8-bit" if row["mode"] == "RGBA" else "RGB-8-bit"]
    image = Image.fromarray(stored(content.samples(picture), row["orientation"]))
    options: dict[str, Any] = {"lossless": row["lossless"], "method": row["method"], "quality": 98, "exact": True}
    if row["frames"] > 1:
        options |= {"save_all": True, "append_images": [Image.new("RGB", image.size, "red")]}
    return encoded(image, "WEBP", exif=exif(row["orientation"]), **options)


@pytest.mark.parametrize("row", WEBPS, ids=named)
def test_a_webp_file(row: Row) -> None:
    content = CONTENTS["RGBA-separate-8-bit" if row["mode"] == "RGBA" else "RGB-8-bit"]
    most, on_average = (2.0, 1.0) if row["lossless"] else (90.0, 6.0)
    assert_seen(webp_file(row), content.seen(SMALL), most, on_average)


# On a real server

MADE: list[tuple[Callable[[Row, Shares], bytes], Row]] = [
    *((tiff_file, row) for row in random.Random(1).sample(TIFFS, 14)),
    *((png_file, row) for row in random.Random(2).sample(PNGS, 8)),
    *((jpeg_file, row) for row in random.Random(3).sample(JPEGS, 4)),
    *((webp_file, row) for row in random.Random(4).sample(WEBPS, 4)),
]


@pytest.mark.parametrize(("make", "row"), MADE, ids=lambda value: named(value) if isinstance(value, dict) else "")
def test_its_first_label_is_that_of_the_same_picture_in_8_bits(
    caller: httpx.Client, make: Callable[[Row, Shares], bytes], row: Row
) -> None:
    first = []
    for file in (encoded(as_image(shown(make, row))), make(row, LARGE)):
        answer = caller.post("/v2/classify?top_k=1", content=file, headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == 200, answer.text
        first.append(answer.json()["predictions"][0]["label"])
    assert first[0] == first[1]


def shown(make: Callable[[Row, Shares], bytes], row: Row) -> Shares:
    """What is to be seen of it."""
    if make is jpeg_file:
        return np.asarray(as_image(LARGE, "L").convert("RGB")) / 255 if row["mode"] == "L" else LARGE
    if make is webp_file:
        return CONTENTS["RGBA-separate-8-bit"].seen(LARGE) if row["mode"] == "RGBA" else LARGE
    content: Content = _PNGS[row["content"]][1] if make is png_file else row["content"]
    shares = content.seen(LARGE)
    return np.broadcast_to(shares, (*shares.shape[:2], 3))
