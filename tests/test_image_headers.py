"""What an image file's headers say: which way up it is, and that nothing but its pixels decides how it is decoded."""

import contextlib
import io
import os
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from model.errors import ImageError, NotAnImage, TooCostly, TooManyPixels
from model.images.decode import decode
from model.images.formats import read_header
from model.images.resize import fit
from model.recipe import Recipe
from testing.photographs import crops, encoded
from tests.mutation import seeds

RECIPE = Recipe(256, 3, 224, 224, 1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
MAX_PIXELS = 50_000_000
MOST_BYTES = 128 * 1024 * 1024
PHOTO = crops(1)[0]


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x010F], made[0x0112] = "A camera", orientation
    return made


def xmp(orientation: int) -> bytes:
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def in_png(*chunks: bytes, after: bool = False) -> bytes:
    """A PNG file with further chunks, before its image or after it."""
    file = encoded(PHOTO)
    at = len(file) - 12 if after else 33
    return file[:at] + b"".join(chunks) + file[at:]


def with_xmp(orientation: int, **options: Image.Exif) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp(orientation).decode())
    return encoded(PHOTO, "PNG", pnginfo=text, **options)


def raw_profile(orientation: int) -> bytes:
    """EXIF data as ImageMagick writes it into a PNG file."""
    data = b"Exif\x00\x00" + exif(orientation).tobytes().removeprefix(b"Exif\x00\x00")
    return b"Raw profile type exif\x00" + b"\x00" + zlib.compress(f"\nexif\n{len(data):8}\n{data.hex()}\n".encode())


TURNED: dict[str, Callable[[int], bytes]] = {
    "JPEG": lambda turn: encoded(PHOTO, "JPEG", exif=exif(turn)),
    "JPEG, big endian": lambda turn: encoded(
        PHOTO, "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08" + struct.pack(">HHHIHHI", 1, 0x112, 3, 1, turn, 0, 0)
    ),
    "JPEG, XMP": lambda turn: encoded(PHOTO, "JPEG", xmp=xmp(turn)),
    "JPEG, progressive": lambda turn: encoded(PHOTO, "JPEG", exif=exif(turn), progressive=True),
    "PNG": lambda turn: encoded(PHOTO, "PNG", exif=exif(turn)),
    "PNG, after the image": lambda turn: in_png(
        chunk(b"eXIf", exif(turn).tobytes().removeprefix(b"Exif\x00\x00")), after=True
    ),
    "PNG, raw profile": lambda turn: in_png(chunk(b"zTXt", raw_profile(turn))),
    "PNG, XMP": with_xmp,
    "WebP": lambda turn: encoded(PHOTO, "WEBP", exif=exif(turn)),
    "WebP, XMP": lambda turn: encoded(PHOTO, "WEBP", xmp=xmp(turn)),
    "TIFF": lambda turn: encoded(PHOTO, "TIFF", exif=exif(turn)),
}


def seen(file: bytes) -> Image.Image:
    """The image as Pillow by itself has it upright, in RGB."""
    upright: Image.Image = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    return upright.convert("RGB")


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("source", TURNED)
def test_it_is_upright_whoever_says_how(source: str, turn: int) -> None:
    file = TURNED[source](turn)
    decoded, upright = decode(file, RECIPE, MAX_PIXELS), seen(file)
    assert (decoded.width, decoded.height) == upright.size
    assert np.array_equal(decoded.pixels, fit(upright, RECIPE))
    # (The pixels tell: this photograph looks the same in no two orientations.)
    assert turn == 1 or not np.array_equal(decoded.pixels, fit(PHOTO, RECIPE))


BOTH: dict[str, Callable[[int], bytes]] = {
    "JPEG": lambda turn: encoded(PHOTO, "JPEG", exif=exif(turn), xmp=xmp(6)),
    "PNG": lambda turn: with_xmp(6, exif=exif(turn)),
    "WebP": lambda turn: encoded(PHOTO, "WEBP", exif=exif(turn), xmp=xmp(6)),
}


@pytest.mark.parametrize("turn", [0, 1, 3, 9])
@pytest.mark.parametrize("source", BOTH)
def test_of_two_orientations_that_of_exif_counts(source: str, turn: int) -> None:
    """A program that turns the pixels upright, and forgets XMP, sets EXIF's orientation to 1."""
    file = BOTH[source](turn)
    decoded, upright = decode(file, RECIPE, MAX_PIXELS), seen(file)
    assert np.array_equal(decoded.pixels, fit(upright, RECIPE))


MODES: dict[str, Callable[[], bytes]] = {
    "JPEG, grey": lambda: encoded(PHOTO.convert("L"), "JPEG"),
    "JPEG, CMYK": lambda: encoded(PHOTO.convert("CMYK"), "JPEG"),
    "JPEG, progressive": lambda: encoded(PHOTO, "JPEG", progressive=True),
    "JPEG, 4:4:4": lambda: encoded(PHOTO, "JPEG", subsampling=0),
    "JPEG, restarts": lambda: encoded(PHOTO, "JPEG", restart_marker_blocks=1),
    "PNG, grey": lambda: encoded(PHOTO.convert("L")),
    "PNG, 1 bit": lambda: encoded(PHOTO.convert("1")),
    "PNG, palette": lambda: encoded(PHOTO.quantize(64)),
    "WebP": lambda: encoded(PHOTO, "WEBP"),
    "WebP, lossless": lambda: encoded(PHOTO, "WEBP", lossless=True),
    "GIF": lambda: encoded(PHOTO, "GIF"),
    "GIF, interlaced": lambda: encoded(PHOTO.quantize(16), "GIF", interlace=1),
    "GIF, moving": lambda: encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90)]),
    "BMP": lambda: encoded(PHOTO, "BMP"),
    "BMP, palette": lambda: encoded(PHOTO.quantize(200), "BMP"),
    "BMP, 1 bit": lambda: encoded(PHOTO.convert("1"), "BMP"),
}


@pytest.mark.parametrize("mode", MODES)
def test_an_ordinary_file_is_decoded_from_its_pixels_alone_and_gives_the_same(mode: str) -> None:
    file = MODES[mode]()
    header = read_header(file, MAX_PIXELS)
    assert header.is_plain
    assert (header.width, header.height) == PHOTO.size
    assert np.array_equal(decode(file, RECIPE, MAX_PIXELS).pixels, fit(seen(file), RECIPE))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_laid_on_white_however_large_the_image_is(mode: str) -> None:
    shape = Image.linear_gradient("L").resize((1200, 900))
    image = PHOTO.resize((1200, 900)).convert("RGBA" if mode != "LA" else "LA")
    image.putalpha(shape)
    if mode == "P":
        image = image.quantize(64)
    file = encoded(image)
    rgba = Image.open(io.BytesIO(file)).convert("RGBA")
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    assert np.abs(decode(file, RECIPE, MAX_PIXELS).pixels.astype(int) - fit(white, RECIPE)).max() <= 1


def test_metadata_never_decides() -> None:
    """A profile that unpacks to megabytes, a wrong checksum in a text, a film behind the picture: pixels are good."""
    bomb = chunk(b"iCCP", b"icc\x00\x00" + zlib.compress(bytes(5_000_000)))
    text = chunk(b"zTXt", b"workflow\x00\x00" + zlib.compress(bytes(5_000_000)))
    broken = bytearray(chunk(b"tEXt", b"Comment\x00made by hand"))
    broken[-1] ^= 0xFF
    film = encoded(PHOTO, "JPEG", progressive=True) + b"\x00\x00\x00\x18ftypmp42" + b"\xff\xda\x00\x08" * 5000
    wanted = fit(PHOTO, RECIPE)
    for file in (in_png(bomb), in_png(text), in_png(bytes(broken)), in_png(bomb, text, after=True)):
        assert np.array_equal(decode(file, RECIPE, MAX_PIXELS).pixels, wanted)
    of_jpeg = encoded(PHOTO, "JPEG", progressive=True, icc_profile=bytes(2_000_000), comment=b"x" * 60_000)
    for file in (film, of_jpeg):
        still = encoded(PHOTO, "JPEG", progressive=True)
        assert np.array_equal(decode(file, RECIPE, MAX_PIXELS).pixels, decode(still, RECIPE, MAX_PIXELS).pixels)


def test_what_is_too_large_is_told_by_the_headers_alone() -> None:
    for kind in ("PNG", "GIF", "BMP", "JPEG", "WEBP"):
        with pytest.raises(TooManyPixels, match="100 x 100"):
            read_header(encoded(PHOTO.resize((100, 100)), kind), 9_999)
    screen = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"!\xf9\x04\x08\x00\x00\x00\x00"
    with pytest.raises(TooManyPixels, match="65535 x 65535"):
        read_header(screen + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\x00;", MAX_PIXELS)
    with pytest.raises(NotAnImage, match="known format"):
        read_header(b"<svg/>", MAX_PIXELS)


@pytest.mark.parametrize("progressive", [True, False])
def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(progressive: bool) -> None:
    photo = encoded(Image.new("L", (1000, 1000), 90), "JPEG", progressive=progressive)
    scan = photo[photo.rindex(b"\xff\xda") : -2]
    if not progressive:
        # A frame of three colours, whose scans bring one each.
        photo = encoded(Image.new("RGB", (1000, 1000)), "JPEG", subsampling=0)
        scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\x00"
        photo = photo[: photo.rindex(b"\xff\xda")] + scan + photo[-2:]
    with pytest.raises(TooCostly, match="scans"):
        read_header(photo[:-2] + scan * 3000 + photo[-2:], MAX_PIXELS)


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        Recipe(None, 3, 224, 224, 1.0, (0.0,) * 3, (1.0,) * 3),
        Recipe(None, 3, 224, 224, 1.0, (0.0,) * 3, (1.0,) * 3, squeeze=(256, 256)),
        Recipe(None, 3, 224, 224, 1.0, (0.0,) * 3, (1.0,) * 3, keep=(0.875, 0.875)),
        Recipe(250, 3, 224, 224, 1.0, (0.0,) * 3, (1.0,) * 3, multiple=32),
    ],
)
@pytest.mark.parametrize("size", [(1, 400_000), (400_000, 1), (1, 2_000_000), (2_000_000, 1)])
@pytest.mark.parametrize("exact", [True, False])
def test_a_thin_image_takes_no_more_memory_than_it_has_pixels(
    size: tuple[int, int], recipe: Recipe, exact: bool
) -> None:
    file = encoded(Image.new("L", size, 77))
    child = os.fork()
    if child == 0:
        had = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (had + MOST_BYTES,) * 2)
        try:
            os._exit(0 if (decode(file, recipe, MAX_PIXELS, exact).pixels == 77).all() else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_every_file_that_is_cut_off_or_has_a_wrong_byte_is_read_or_refused() -> None:
    """Whatever is left of a header, its reader says what it can, or leaves the file to the decoder."""
    wrong = (0, 1, 0x7F, 0x80, 0xFF)
    for file in seeds(PHOTO.resize((30, 20))):
        damaged = [file[:end] for end in range(len(file))]
        damaged += [file[:at] + bytes([byte]) + file[at + 1 :] for at in range(min(len(file), 800)) for byte in wrong]
        for data in damaged:
            with contextlib.suppress(ImageError):
                assert read_header(data, MAX_PIXELS).format


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_limit_lower_than_the_models_own_size_refuses_only_what_is_larger(kind: str, mode: str) -> None:
    file = encoded(crops(1)[0].convert(mode).resize((12, 8)), kind)
    for exact in (True, False):
        wanted = decode(file, RECIPE, MAX_PIXELS, exact)
        assert np.array_equal(decode(file, RECIPE, 12 * 8, exact).pixels, wanted.pixels)
        with pytest.raises(TooManyPixels, match="12 x 8"):
            decode(file, RECIPE, 12 * 8 - 1, exact)
