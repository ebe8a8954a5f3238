"""Large files as cameras, phones, scanners and drawing programs make them, up to the limits of pixels and bytes."""

import io
import struct
import zlib
from functools import cache, partial

import numpy as np
from PIL import Image, ImageFilter

from testing.photographs import COFFEE
from tests.corpus import bmp, jpeg, png
from tests.corpus.file import ACCEPTED, CorpusFile, deflated

LARGE, A4, PANORAMA = (8660, 5773), (4961, 7016), (16_000, 3_000)


@cache
def photograph(size: tuple[int, int], noise: float) -> Image.Image:
    """A photograph of that size, with the noise of a sensor: the same piece again and again."""
    piece = (min(2000, size[0]), min(1250, size[1]))
    with Image.open(COFFEE) as opened:
        smooth = np.asarray(opened.convert("RGB").resize(piece, Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(7).normal(0, noise, smooth.shape).astype(np.float32)
    one = (smooth + grain).clip(0, 255).astype(np.uint8)
    times = (-(-size[1] // piece[1]), -(-size[0] // piece[0]), 1)
    return Image.fromarray(np.tile(one, times)[: size[1], : size[0]])


def drawing(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Areas of one colour, and lines of something like text."""
    random = np.random.default_rng(11)
    piece = Image.new("RGB", (1000, 500), "white")
    text = Image.fromarray(((random.random((100, 300)) < 0.3) * 255).astype(np.uint8)).resize((900, 200))
    text = text.point(lambda value: 255 if value > 100 else 0)
    piece.paste("black", (50, 50), text)
    for number, colour in enumerate(("red", "navy", "gold", "teal")):
        piece.paste(colour, (50 + number * 220, 300, 200 + number * 220, 450))
    converted = piece.quantize(16) if mode == "P" else piece.convert(mode)
    whole = Image.new(mode, size, 255 if mode in ("1", "L") else "white" if mode != "P" else 0)
    if mode == "P":
        whole.putpalette(converted.getpalette() or [])
    if mode == "RGBA":
        converted.putalpha(piece.convert("L").filter(ImageFilter.GaussianBlur(3)))
    for top in range(0, size[1], 500):
        for left in range(0, size[0], 1000):
            whole.paste(converted, (left, top))
    return whole


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def photo(size: tuple[int, int], kind: str = "JPEG", noise: float = 3.0, mode: str = "RGB", **options: object) -> bytes:
    image = photograph(size, noise)
    return saved(image if mode == "RGB" else image.convert(mode), kind, **options)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "A maker of cameras"
    return photo(LARGE, quality=80, exif=exif)


def camera() -> bytes:
    """EXIF with a thumbnail and a maker's note, a colour profile in pieces, XMP."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x927C] = bytes(30_000)
    thumbnail = photo((320, 240), quality=70)
    data = exif.tobytes() + thumbnail
    profile = bytes(range(256)) * 2200
    xmp = b"<x:xmpmeta>" + b" " * 40_000 + b"</x:xmpmeta>"
    return photo((6000, 4000), quality=85, exif=data, icc_profile=profile, xmp=xmp)


def phone(size: tuple[int, int]) -> bytes:
    """A picture, a smaller one of its depths, and the index that says so (MPO)."""
    return photo(size, "MPO", quality=80, save_all=True, append_images=[photograph((1000, 750), 3.0).convert("L")])


def motion() -> bytes:
    """A picture with three megabytes of film behind it."""
    film = np.random.default_rng(5).bytes(3_000_000)
    return photo((4000, 3000), quality=85) + struct.pack(">L4s8s", 24, b"ftyp", b"mp42\0\0\0\0") + film


@cache
def png_rows(width: int, mode: str) -> bytes:
    """500 rows of a drawing, as libpng would filter and store them."""
    data = saved(drawing((width, 500), mode), "PNG", compress_level=1)
    parts, at = [], 8
    while at < len(data):
        length, kind = struct.unpack(">L4s", data[at : at + 8])
        if kind == b"IDAT":
            parts.append(data[at + 8 : at + 8 + length])
        at += 12 + length
    return zlib.decompress(b"".join(parts))


def drawn(mode: str, depth: int, colour: int, beside: bytes = b"") -> bytes:
    """A drawing of 50 megapixels."""
    size = (10_000, 5_000)
    if colour == png.PALETTE:
        beside = png.chunk(b"PLTE", png.COLOURS[: 3 << depth]) + beside
    data = deflated(png_rows(size[0], mode), size[1] // 500)
    parts = [png.chunk(b"IDAT", data[start : start + 8192]) for start in range(0, len(data), 8192)]
    return png.header(size, depth, colour) + beside + b"".join(parts) + png.chunk(b"IEND")


def wide_grey() -> bytes:
    """A drawing of 16-bit greys."""
    grey = np.asarray(drawing((10_000, 250), "L"), np.uint16) * 257
    rows = np.concatenate([np.zeros((250, 1), np.uint8), grey.astype(">u2").view(np.uint8)], axis=1).tobytes()
    data = deflated(rows, 20)
    return png.header((10_000, 5_000), 16, png.GREY) + png.chunk(b"IDAT", data) + png.chunk(b"IEND")


def noted() -> bytes:
    """A picture with a large profile and long texts, as a drawing program or a generator of images keeps them."""
    profile = png.chunk(b"iCCP", b"a profile\0\0" + zlib.compress(np.random.default_rng(3).bytes(700_000)))
    texts = png.chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a word " * 100_000))
    texts += png.chunk(b"tEXt", b"prompt\0" + b"a word " * 30_000)
    return drawn("RGB", 8, png.RGB, profile + texts)


def scan(mode: str, **options: object) -> bytes:
    """A page of A4 at 600 dpi."""
    return saved(drawing(A4, mode), "TIFF", dpi=(600, 600), **options)


def pages() -> bytes:
    """A fax of 30 pages."""
    page = drawing((1728, 2200), "1")
    return saved(page, "TIFF", compression="group4", save_all=True, append_images=[page] * 29)


def old_bitmap() -> bytes:
    """A drawing in runs (RLE8): 8 megapixels, 300 runs in a line."""
    line = b"".join(bytes([9, number % 7, 1, 0]) for number in range(150)) + bytes([255, 1] * 5 + [225, 1])
    return bmp.runs((150 * 10 + 255 * 5 + 225, 2600), bmp.RLE8, (line + bmp.LINE_END) * 2600 + bmp.BITMAP_END)


def floating() -> bytes:
    values = np.asarray(photograph((1600, 1400), 3.0).convert("L"), np.float32) / 255
    return saved(Image.fromarray(values), "TIFF")


ordinary = partial(CorpusFile, may_be=ACCEPTED)

FILES = (
    ordinary("JPEG", "50 megapixels, baseline, 4:2:0", partial(photo, LARGE, quality=75), in_ci=True),
    ordinary("JPEG", "50 megapixels, baseline, 4:4:4", partial(photo, LARGE, quality=70, subsampling=0)),
    ordinary("JPEG", "50 megapixels, noisy", partial(photo, LARGE, noise=8.0, quality=55)),
    ordinary("JPEG", "50 megapixels, smooth", partial(photo, LARGE, noise=0.0, quality=80)),
    ordinary("JPEG", "50 megapixels, progressive, 4:2:0", partial(photo, LARGE, quality=75, progressive=True)),
    ordinary(
        "JPEG",
        "50 megapixels, progressive, 4:4:4",
        partial(photo, LARGE, quality=70, subsampling=0, progressive=True),
        in_ci=True,
    ),
    ordinary("JPEG", "50 megapixels, grey, progressive", partial(photo, LARGE, mode="L", quality=75, progressive=True)),
    ordinary("JPEG", "50 megapixels, CMYK", partial(photo, LARGE, mode="CMYK", quality=50)),
    ordinary("JPEG", "50 megapixels, restarts", partial(photo, LARGE, quality=75, restart_marker_rows=1)),
    ordinary("JPEG", "50 megapixels, turned", turned),
    ordinary("JPEG", "panorama", partial(photo, PANORAMA, quality=80)),
    ordinary("JPEG", "EXIF, thumbnail, profile and XMP", camera, in_ci=True),
    ordinary("JPEG", "two pictures of a phone", partial(phone, (8000, 6000)), in_ci=True),
    ordinary("JPEG", "picture with film", motion),
    ordinary("JPEG", "50 megapixels, of one colour", partial(jpeg.flat, jpeg.BASELINE, LARGE, jpeg.HALVED)),
    ordinary("PNG", "drawing, RGB", partial(drawn, "RGB", 8, png.RGB)),
    ordinary("PNG", "drawing, RGBA", partial(drawn, "RGBA", 8, png.RGBA), in_ci=True),
    ordinary("PNG", "drawing, grey", partial(drawn, "L", 8, png.GREY)),
    ordinary("PNG", "drawing, palette", partial(drawn, "P", 4, png.PALETTE)),
    ordinary("PNG", "drawing, transparent palette", partial(drawn, "P", 4, png.PALETTE, png.chunk(b"tRNS", b"\0\x80"))),
    ordinary("PNG", "drawing, 1 bit", partial(drawn, "1", 1, png.GREY)),
    ordinary("PNG", "drawing, 16-bit grey", wide_grey, in_ci=True),
    ordinary("PNG", "drawing with profile and texts", noted, in_ci=True),
    ordinary("PNG", "photograph", partial(photo, (2200, 1500), "PNG", compress_level=1)),
    ordinary(
        "WEBP",
        "photograph of 50 megapixels, lossy",
        partial(photo, LARGE, "WEBP", 2.0, quality=40, method=0),
        in_ci=True,
    ),
    ordinary("WEBP", "photograph of 12 megapixels, lossy", partial(photo, (4000, 3000), "WEBP", quality=80, method=0)),
    ordinary(
        "WEBP",
        "drawing of 8 megapixels, lossless",
        lambda: saved(drawing((4000, 2000)), "WEBP", lossless=True, quality=0, method=0),
    ),
    ordinary(
        "WEBP",
        "drawing of 8 megapixels, lossless, with alpha",
        lambda: saved(drawing((4000, 2000), "RGBA"), "WEBP", lossless=True, quality=0, method=0),
    ),
    ordinary("GIF", "drawing of 25 megapixels", lambda: saved(drawing((6250, 4000), "P"), "GIF"), in_ci=True),
    ordinary("GIF", "drawing of 49 megapixels", lambda: saved(drawing((8600, 5773), "P"), "GIF")),
    ordinary("BMP", "photograph of 10 MB", partial(photo, (2150, 1620), "BMP"), in_ci=True),
    ordinary("BMP", "drawing of 50 megapixels, 1 bit", lambda: saved(drawing((10_000, 5_000), "1"), "BMP")),
    ordinary("BMP", "drawing in runs", old_bitmap, in_ci=True),
    ordinary("TIFF", "page of A4, group 4", partial(scan, "1", compression="group4"), in_ci=True),
    ordinary("TIFF", "page of A4, 1 bit, packed bits", partial(scan, "1", compression="packbits")),
    ordinary("TIFF", "page of A4, grey, LZW", partial(scan, "L", compression="tiff_lzw")),
    ordinary("TIFF", "page of A4, grey, deflate", partial(scan, "L", compression="tiff_adobe_deflate")),
    ordinary(
        "TIFF",
        "page of A4, RGB, deflate, predicted",
        partial(scan, "RGB", compression="tiff_adobe_deflate", tiffinfo={317: 2}),
        in_ci=True,
    ),
    ordinary("TIFF", "page of A4, RGB, LZW, turned", partial(scan, "RGB", compression="tiff_lzw", tiffinfo={274: 6})),
    ordinary("TIFF", "page of A4, CMYK, LZW", partial(scan, "CMYK", compression="tiff_lzw")),
    ordinary(
        "TIFF",
        "photograph of 35 megapixels, JPEG",
        partial(photo, (7016, 4961), "TIFF", compression="jpeg", quality=75),
    ),
    ordinary("TIFF", "photograph, raw", partial(photo, (2150, 1620), "TIFF")),
    ordinary("TIFF", "fax of 30 pages", pages),
    ordinary("TIFF", "floating values", floating),
)
