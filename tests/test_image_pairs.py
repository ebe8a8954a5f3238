"""PNG, BMP, JPEG, GIF and WebP files of any two properties together, each against the same picture in 8-bit RGB."""

import random
import zlib
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from testing.photographs import encoded
from tests.image_writers import PngLayout, chunk, palette_bmp, png
from tests.pairwise import Row, pairwise
from tests.pictures import CONTENTS, LARGE, ORIENTATIONS, SMALL, Content, Shares, as_image, exif, palette_of, stored
from tests.seeing import assert_first_label, assert_seen, named

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


@pytest.mark.parametrize("row", random.Random(2).sample(PNGS, 8), ids=named)
def test_the_first_label_of_a_png_file(caller: httpx.Client, row: Row) -> None:
    assert_first_label(caller, png_file(row, LARGE), _PNGS[row["content"]][1].seen(LARGE))


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


def of_jpeg(row: Row) -> Content:
    return CONTENTS["black-is-zero-8-bit-unsigned" if row["mode"] == "L" else "RGB-8-bit"]


@pytest.mark.parametrize("row", JPEGS, ids=named)
def test_a_jpeg_file(row: Row) -> None:
    assert_seen(jpeg_file(row), of_jpeg(row).seen(SMALL), 255, 8)


@pytest.mark.parametrize("row", random.Random(3).sample(JPEGS, 4), ids=named)
def test_the_first_label_of_a_jpeg_file(caller: httpx.Client, row: Row) -> None:
    assert_first_label(caller, jpeg_file(row, LARGE), of_jpeg(row).seen(LARGE))


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


def of_webp(row: Row) -> Content:
    return CONTENTS["RGBA-separate-8-bit" if row["mode"] == "RGBA" else "RGB-8-bit"]


def webp_file(row: Row, picture: Shares = SMALL) -> bytes:
    image = Image.fromarray(stored(of_webp(row).samples(picture), row["orientation"]))
    options: dict[str, Any] = {"lossless": row["lossless"], "method": row["method"], "quality": 98, "exact": True}
    if row["frames"] > 1:
        options |= {"save_all": True, "append_images": [Image.new("RGB", image.size, "red")]}
    return encoded(image, "WEBP", exif=exif(row["orientation"]), **options)


@pytest.mark.parametrize("row", WEBPS, ids=named)
def test_a_webp_file(row: Row) -> None:
    most, on_average = (2.0, 1.0) if row["lossless"] else (255.0, 8.0)
    assert_seen(webp_file(row), of_webp(row).seen(SMALL), most, on_average)


@pytest.mark.parametrize("row", random.Random(4).sample(WEBPS, 4), ids=named)
def test_the_first_label_of_a_webp_file(caller: httpx.Client, row: Row) -> None:
    assert_first_label(caller, webp_file(row, LARGE), of_webp(row).seen(LARGE))
