"""Decodes an image file to the model's input. It runs before batching, so that a bad image fails alone."""

import io
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from model.errors import ImageError, NotAnImage, TooManyPixels, damaged, too_many_pixels
from model.images import bitfields, libwebp, tiff_layouts, tiff_planes
from model.images.colours import is_grey_or_rgb, without_alpha
from model.images.formats import png, read_header, tiff
from model.images.formats.header import Header
from model.images.formats.orientation import UPRIGHT
from model.images.formats.samples import Samples
from model.images.resize import MOST_RESIZED_PIXELS, fit, fit_quickly, scaled_size
from model.recipe import Recipe

# With the quick resize, a JPEG is decoded at no less than this many times the size that is needed.
QUICK_SCALE = 3
# An image of more work than this (see `Header.work`) is decoded as with `exact=False`, such as a progressive JPEG of 17
# million pixels, or a PNG in colours of 43 million. Decoded exactly, it would take too much time and memory.
MOST_EXACT_WORK = 60_000_000
# How much of its work an image takes in addition if it has to be turned upright.
SHARE_OF_TURNING = 0.5

# Pillow's warnings are about details of a caller's file, which an operator can't fix.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as the model takes it, and properties of its file.

    Attributes:
        pixels: uint8, height x width x 3 of the recipe, in the order red, green, blue.
        width, height: size of the whole image in pixels, after its EXIF orientation was applied.
        format: JPEG, PNG, WEBP, GIF, BMP or TIFF.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str


def decode(data: bytes, recipe: Recipe, max_pixels: int, exact: bool = True) -> Decoded:
    """Decode the first image of a file, and resize it to the size that the model takes.

    Args:
        data: the file.
        recipe: how an image becomes the model's input.
        max_pixels: the largest number of pixels that an image may have.
        exact: True: the pixels equal those of the checkpoint's own processor. False: the image is resized by
            `fit_quickly`; before that, the decoder scales a large JPEG to a half, quarter or eighth, but not below
            three times the needed size. This is several times as fast, and rarely more than 1 in 255 different.

    Raises:
        NotAnImage: the bytes are not an image of a known format, or the image is damaged or cut off.
        TooManyPixels: the image has more than `max_pixels`; it was not decoded.
        TooCostly: the coding of its pixels would take too much work.
    """
    # PNG files with any number of chunks: this function does not run on the event loop, which must not wait.
    return decode_file(read_header(data, max_pixels, most_png_chunks=len(data)), recipe, max_pixels, exact)


def decode_file(header: Header, recipe: Recipe, max_pixels: int, exact: bool = True) -> Decoded:
    """Decode like `decode`, a file whose headers have been read."""
    # Pillow's own limit, for images that it makes before the size is known here; it raises at twice this value. It is
    # for crops too, and so never lower than what a small image is enlarged to.
    Image.MAX_IMAGE_PIXELS = max(max_pixels, MOST_RESIZED_PIXELS)
    try:
        is_exact = exact and _work_upright(header) <= MOST_EXACT_WORK
        image, size = _decode(header, recipe, max_pixels, is_exact)
        samples = _samples(header)
        convert = None if is_grey_or_rgb(image, samples) else partial(without_alpha, samples=samples)
        if convert is not None and is_exact:
            image = convert(image)
        pixels = fit(image, recipe) if is_exact else fit_quickly(image, recipe, convert)
        return Decoded(pixels, *size, header.format)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise _unreadable(header) from None
    except Image.DecompressionBombError:
        raise TooManyPixels(f"The image has too many pixels; send one of at most {max_pixels}.") from None
    except Exception:
        # Pillow's decoders raise many types of errors over damaged data, such as OSError, SyntaxError and struct.error.
        # All mean the same to the caller.
        raise damaged() from None


def _work_upright(header: Header) -> float:
    return header.work * (1 + (SHARE_OF_TURNING if header.orientation != UPRIGHT else 0))


def _decode(header: Header, recipe: Recipe, max_pixels: int, exact: bool) -> tuple[Image.Image, tuple[int, int]]:
    """Return the upright image in its own colours, and its size before the decoder scaled it.

    An image may need hundreds of megabytes, so that each is freed as soon as the next one is made from it.
    """
    samples, image = _samples(header), _decoded_without_pillow(header, max_pixels)
    if image is None:
        image = _open(header.pixels if header.is_plain else header.file, header.format, max_pixels)
    size = image.size
    grey_with_alpha = tiff_layouts.find_grey_with_alpha(image)
    if not exact:
        across, down = scaled_size(size, recipe)
        image.draft("", (QUICK_SCALE * across, QUICK_SCALE * down))
    stored = image.size
    image.load()
    turn = _TRANSPOSE.get(header.orientation if header.is_plain else _orientation(image))
    # Pillow itself turns a TIFF upright when it loads it.
    is_turned = stored[0] != stored[1] and image.size == stored[::-1]
    if header.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = png.transparent_in_eight_bits(image.info["transparency"], samples.bits)
    if grey_with_alpha is not None:
        image = tiff_layouts.convert_grey_with_alpha(image, grey_with_alpha)
    if turn is not None:
        upright = image.transpose(turn)
        is_turned = upright.size == image.size[::-1] if size[0] != size[1] else False
        image = upright
    return image, size[::-1] if is_turned else size


def _open(file: bytes, name: str, max_pixels: int) -> Image.Image:
    """Open a file of that format without decoding its pixels.

    Raises:
        TooManyPixels: the image has more than `max_pixels`.
    """
    image = Image.open(io.BytesIO(tiff.readable_by_pillow(file) if name == "TIFF" else file), formats=(name,))
    width, height = image.size
    if width * height > max_pixels:
        raise too_many_pixels(width, height, max_pixels)
    tiff_layouts.use_native_order(image)
    return image


def _decoded_without_pillow(header: Header, max_pixels: int) -> Image.Image | None:
    if header.format == "WEBP" and header.is_plain:
        return libwebp.decode(header)
    if header.format == "TIFF":
        return tiff_planes.decode(header, partial(_open, name="TIFF", max_pixels=max_pixels))
    return bitfields.decode(header) if header.format == "BMP" else None


def _samples(header: Header) -> Samples:
    """Describe the samples, by default 8 bits; only PNG and TIFF files have others.

    Raises:
        NotAnImage: a TIFF file has a layout that can't be read.
    """
    if header.format == "PNG":
        return Samples(png.bits_of(header.file))
    if header.format != "TIFF":
        return Samples(8)
    tags = tiff.tags_of(header.file)
    if not tags.is_readable():
        raise _unreadable(header)
    return tags.samples()


def _unreadable(header: Header) -> NotAnImage:
    """Make the error for a file that starts like its format and can't be read."""
    tags = tiff.tags_of(header.file) if header.format == "TIFF" else tiff.SampleTags()
    if not tags.values:
        return NotAnImage(f"The data is no {header.format} image that can be read; send the whole file.")
    return NotAnImage(
        f"A TIFF file that holds {tags.described()} can't be read; save it as grey or RGB with 8 or 16 bits, "
        "packed as LZW, Deflate or JPEG, or not at all."
    )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, UPRIGHT))
    except Exception:
        # The pixels can be read even where the EXIF data is damaged.
        return UPRIGHT
