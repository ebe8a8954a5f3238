"""From the bytes of an image file to the model's input, before the batch, so that one bad image spoils no other."""

import io
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from model.errors import ImageError, NotAnImage, TooManyPixels
from model.images import bitfields, libwebp, tiff_layouts, tiff_planes
from model.images.colours import without_alpha
from model.images.formats import png, read_header, tiff
from model.images.formats.header import Header
from model.images.formats.orientation import UPRIGHT
from model.images.formats.samples import Samples
from model.images.resize import fit, fit_quickly, resized
from model.recipe import Recipe

# How many times the size that is needed a JPEG is decoded at, at least, where it need not be exact.
QUICK_SCALE = 3
# An image of more work than this (see `Header`) is not decoded exactly: a progressive JPEG of 22 million pixels, or one
# with alpha of 44 million. It would take more time and memory than one request may cost.
MOST_EXACT_WORK = 75_000_000

# What Pillow thinks of a file's finer points is nothing that an operator could mend.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112
_UPRIGHT = {
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
    """An image as the model takes it, and what its file said of it.

    Attributes:
        pixels: uint8, height x width x 3 of the recipe, red, green, blue.
        width, height: of the image as it is seen, in pixels, its EXIF orientation applied.
        format: JPEG, PNG, WEBP, GIF, BMP or TIFF.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str


def decode(data: bytes, recipe: Recipe, max_pixels: int, exact: bool = True) -> Decoded:
    """Read an image file, the first of its images, and bring it to the size that the model takes.

    Args:
        data: the file.
        recipe: how the model takes images.
        max_pixels: the most that an image may have.
        exact: to the pixel as the checkpoint's own processor does. Else it is resized by `fit_quickly`, and a JPEG of
            several times the size is decoded at a half, quarter or eighth of it (the decoder's own scaling), at least
            three times what is needed, before that: several times as fast, and rarely more than 1 in 255 off.

    Raises:
        NotAnImage: the bytes are no image of a known format, or a damaged or truncated one.
        TooManyPixels: the image has more than `max_pixels`; it was not decoded.
    """
    # (However many chunks it has: who calls this may take longer than the event loop's neighbours may.)
    return decode_file(read_header(data, max_pixels, most_chunks=len(data)), recipe, max_pixels, exact)


def decode_file(header: Header, recipe: Recipe, max_pixels: int, exact: bool = True) -> Decoded:
    """As `decode`, where the headers have been read."""
    # Pillow's own limit, for what it makes before its caller can look at a size; it raises at twice the value.
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        is_exact = exact and header.work <= MOST_EXACT_WORK
        image, size = _opened(header, recipe, max_pixels, is_exact)
        width, height = size
        return Decoded((fit if is_exact else fit_quickly)(image, recipe), width, height, header.format)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise _unidentified(header) from None
    except Image.DecompressionBombError:
        raise TooManyPixels(f"The image has too many pixels; send one of at most {max_pixels}.") from None
    except Exception:
        # Pillow's decoders raise errors of many kinds over damaged data, OSError, SyntaxError and struct.error among
        # them; all mean the same to the caller.
        raise NotAnImage("The image is damaged or cut off; send the whole file.") from None


def _opened(header: Header, recipe: Recipe, max_pixels: int, exact: bool) -> tuple[Image.Image, tuple[int, int]]:
    """The image as it is to be seen, grey or RGB, and its size before it was scaled by its decoder.

    An image may take hundreds of megabytes: here each is let go of as soon as the next is made of it.
    """
    samples, image = _samples(header), _decoded_without_pillow(header, max_pixels)
    if image is None:
        image = _open(header.pixels if header.is_plain else header.file, header.format, max_pixels)
    size = image.size
    grey_with_alpha = tiff_layouts.grey_with_alpha(image)
    if not exact:
        across, down = resized(size, recipe)
        image.draft("", (QUICK_SCALE * across, QUICK_SCALE * down))
    stored = image.size
    image.load()
    turn = _UPRIGHT.get(header.orientation if header.is_plain else _orientation(image))
    # (Pillow turns a TIFF by itself, as it loads it.)
    is_turned = stored[0] != stored[1] and image.size == stored[::-1]
    if header.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = png.in_eight_bits(image.info["transparency"], samples.bits)
    if grey_with_alpha is not None:
        image = tiff_layouts.put_right(image, grey_with_alpha)
    image = without_alpha(image, samples)
    if turn is not None:
        upright = image.transpose(turn)
        is_turned = upright.size == image.size[::-1] if size[0] != size[1] else False
        image = upright
    return image, size[::-1] if is_turned else size


def _open(file: bytes, name: str, max_pixels: int) -> Image.Image:
    """Open a file of that format, and refuse it where it is too large; it is not decoded yet."""
    image = Image.open(io.BytesIO(tiff.as_pillow_reads_it(file) if name == "TIFF" else file), formats=(name,))
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixels(f"The image has {width} x {height} pixels; send one of at most {max_pixels}.")
    tiff_layouts.in_native_order(image)
    return image


def _decoded_without_pillow(header: Header, max_pixels: int) -> Image.Image | None:
    if header.format == "WEBP" and header.is_plain:
        return libwebp.decode(header)
    if header.format == "TIFF":
        return tiff_planes.decode(header, partial(_open, name="TIFF", max_pixels=max_pixels))
    return bitfields.decode(header) if header.format == "BMP" else None


def _samples(header: Header) -> Samples:
    """What the samples are, as far as the file says more than that they have 8 bits."""
    if header.format == "PNG":
        return Samples(png.bits_of(header.file))
    if header.format != "TIFF":
        return Samples(8)
    tags = tiff.tags_of(header.file)
    if not tags.is_readable():
        raise _unidentified(header)
    return tags.samples()


def _unidentified(header: Header) -> NotAnImage:
    """Why a file can't be read whose first bytes are those of its format."""
    tags = tiff.tags_of(header.file) if header.format == "TIFF" else tiff.Tags()
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
        # Damaged EXIF data spoils no pixel.
        return UPRIGHT
