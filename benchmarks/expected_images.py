"""Decodes an image file without code of the server, to know the expected answer: by Pillow, in RGB, upright, on white.

Samples that Pillow leaves wider than 8 bits are read with tifffile and numpy, by the rules of `docs/images.md`.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# Text chunks of any size are allowed: they do not change a pixel.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**30
_WIDE = ("I", "F")
_PNG = b"\x89PNG\r\n\x1a\n"
_BIG_ENDIAN_BIGTIFF, _IN_PLANES = b"MM\x00\x2b", 2
# Microsoft's BI_BITFIELDS and BI_ALPHABITFIELDS.
_BIT_FIELDS = (3, 6)


@dataclass(frozen=True)
class Expected:
    """What the server should answer to a file.

    Attributes:
        kind: the kind of file, such as "PNG RGBA".
        statuses: the statuses that the server may answer.
        image: the first image of the file in RGB, if it is known.
    """

    kind: str
    statuses: frozenset[int]
    image: Image.Image | None = None


def expect(data: bytes, max_pixels: int) -> Expected:
    """Find out what the server should answer to a file, if it accepts images of at most `max_pixels`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = _expect(data, max_pixels)
        if expected.statuses == {400} and data.startswith(_PNG) and (pixels := _pixels_of_png(data)) != data:
            # The error may be in a text chunk, which changes no pixel.
            expected = _expect(pixels, max_pixels)
        return expected


def _expect(data: bytes, max_pixels: int) -> Expected:
    if data[:2] in (b"II", b"MM") and (expected := _misread_tiff(data, max_pixels)) is not None:
        return expected
    try:
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        return _unidentified(data, max_pixels)
    except Image.DecompressionBombError:
        return Expected("too large", frozenset({422}))
    except Exception:
        return _unopened(data)
    kind = f"{'JPEG' if opened.format == 'MPO' else opened.format} {opened.mode}"
    if opened.width * opened.height > max_pixels:
        return Expected(kind, frozenset({422}))
    return (_wide_tiff(data, kind) if opened.format == "TIFF" else None) or _loaded(opened, kind)


def _loaded(opened: Image.Image, kind: str) -> Expected:
    try:
        opened.load()
    except Exception:
        return Expected(f"{kind}, damaged", frozenset({400}))
    return Expected(kind, frozenset({200}), _on_white(_upright(opened)))


def _unopened(data: bytes) -> Expected:
    """Handle a file of a known format that Pillow can't open: damaged, or a BMP layout that Pillow does not support."""
    if data[:2] == b"BM" and int.from_bytes(data[30:34], "little") in _BIT_FIELDS:
        return Expected("BMP, other bit fields", frozenset({200, 400}))
    return Expected("damaged", frozenset({400}))


def _pixels_of_png(data: bytes) -> bytes:
    """Return a PNG file reduced to the chunks that define its pixels."""
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[at:end])
        at = end
    # The rest belongs to a chunk that is cut off.
    return b"".join([*kept, data[at:]])


def _unidentified(data: bytes, max_pixels: int) -> Expected:
    """Handle a file in which Pillow recognises none of the formats; tifffile may read it."""
    if data[:2] in (b"II", b"MM") and (expected := _wide_tiff(data, "TIFF that Pillow can't read")) is not None:
        image = expected.image
        if image is not None and image.width * image.height > max_pixels:
            return Expected(expected.kind, frozenset({422}))
        # The server may also refuse such a kind.
        return Expected(expected.kind, expected.statuses | {400}, image)
    return Expected("no image of the formats", frozenset({400}))


def _misread_tiff(data: bytes, max_pixels: int) -> Expected | None:
    """Handle a big-endian BigTIFF, or a TIFF file with planes, which Pillow may read wrongly; None for any other."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages[0]
            is_in_planes = int(page.planarconfig) == _IN_PLANES and int(page.samplesperpixel) > 1
            pixels = int(page.imagewidth) * int(page.imagelength)
    except Exception:
        return None
    if not is_in_planes and data[:4] != _BIG_ENDIAN_BIGTIFF:
        return None
    if pixels > max_pixels:
        return Expected("TIFF, too large", frozenset({422}))
    kind = "TIFF that Pillow misreads"
    return _wide_tiff(data, kind) or Expected(kind, frozenset({200, 400}))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # Damaged EXIF data changes no pixel.
        return image


def _on_white(image: Image.Image) -> Image.Image | None:
    if image.mode.startswith("I;16"):
        image = _sixteen_bits(image)
    if image.mode in _WIDE:
        return None
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "RGBa" or image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _sixteen_bits(image: Image.Image) -> Image.Image:
    """Convert a grey PNG image from 16 to 8 bits; the transparent value becomes white."""
    values = np.asarray(image)
    grey = (values / 257).round().astype(np.uint8)
    grey[values == image.info.get("transparency", -1)] = 255
    return Image.fromarray(grey)


def _wide_tiff(data: bytes, kind: str) -> Expected | None:
    """Handle a TIFF file of grey samples other than unsigned 8-bit ones; None for any other, or if tifffile fails."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages[0]
            bits, format_ = int(page.bitspersample), int(page.sampleformat)
            photometric, count = int(page.photometric), int(page.samplesperpixel)
            if photometric not in (0, 1) or (bits <= 8 and format_ == 1):
                return None
            if count != 1:
                return Expected(f"{kind}, {bits}-bit, format {format_}", frozenset({200, 400}))
            kind = f"TIFF grey, {bits}-bit, format {format_}"
            values = page.asarray()
            limits = [page.tags[tag].value for tag in (340, 341) if tag in page.tags]
            turn = page.tags[274].value if 274 in page.tags else 1
    except Exception:
        # Known to be such a file, but compressed in a way for which tifffile needs another package.
        return Expected(kind, frozenset({200, 400})) if "format" in kind else None
    if values.ndim != 2 or format_ not in (1, 2, 3):
        return Expected(kind, frozenset({200, 400}))
    shares = _shares(values, bits, format_, limits)
    if shares is None:
        return Expected(f"{kind}, beyond its range", frozenset({400}))
    if photometric == 0:
        shares = 1 - shares
    grey = Image.fromarray((shares * 255).round().clip(0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[274] = turn
    grey.info["exif"] = exif.tobytes()
    return Expected(kind, frozenset({200}), _upright(grey).convert("RGB"))


def _shares(values: NDArray[Any], bits: int, format_: int, limits: list[Any]) -> NDArray[np.float64] | None:
    """Return each sample as a number from 0 (black) to 1 (white); None if some are outside the range of the file."""
    black, white = 0.0, {1: 2.0**bits - 1, 2: 2.0 ** (bits - 1) - 1, 3: 1.0}[format_]
    if format_ != 1 and len(limits) == 2:
        black, white = (float(np.ravel(limit)[0]) for limit in limits)
    shares = np.nan_to_num((values.astype(np.float64) - black) / (white - black), nan=0.0)
    beyond = shares.min() < -1 / 510 or shares.max() > 1 + 1 / 510
    return None if beyond and format_ != 1 else shares
