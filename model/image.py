"""From the bytes of an image file to the model's input, before the batch, so that one bad image spoils no other."""

import io
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from model.errors import ImageError, NotAnImage, TooManyPixels
from model.recipe import Recipe
from model.resize import fit, fit_quickly, resized

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_NAMES = "JPEG, PNG, WebP, GIF, BMP or TIFF"

# A progressive JPEG goes over its pixels once for each scan: together no more than so many times the pixels allowed.
MOST_SCANS_OF_MOST_PIXELS = 16
# How many times the size that is needed a JPEG is decoded at, at least, where it need not be exact.
QUICK_SCALE = 3
# Above it, one image at a time is decoded in full: several would not fit in the memory of a small machine.
LARGE_PIXELS = 12_000_000

# The limit is the project's own setting, looked at before a pixel is decoded; Pillow's would only warn.
Image.MAX_IMAGE_PIXELS = None
# What Pillow thinks of a file's finer points is nothing that an operator could mend.
warnings.filterwarnings("ignore", module=r"PIL\.")

_one_large = threading.Lock()
# EXIF's orientation (tag 0x0112) → how to turn the image upright.
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
_SIDEWAYS = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))


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
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_cost(opened, data, max_pixels)
            size = opened.size
            if not exact:
                across, down = resized(size, recipe)
                opened.draft("", (QUICK_SCALE * across, QUICK_SCALE * down))
            with _one_large if opened.width * opened.height > LARGE_PIXELS else nullcontext():
                # A JPEG that holds several pictures, as telephones make them, is one to its sender.
                name = "JPEG" if opened.format == "MPO" else str(opened.format)
                image, is_turned = _upright(opened)
                width, height = size[::-1] if is_turned else size
                pixels = (fit if exact else fit_quickly)(_rgb(image), recipe)
                return Decoded(pixels, width, height, name)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise NotAnImage(f"The data is no image of a known format; send a {_NAMES} file.") from None
    except Exception:
        # Pillow's decoders raise errors of many kinds over damaged data, OSError, SyntaxError and struct.error among
        # them; all mean the same to the caller.
        raise NotAnImage("The image is damaged or cut off; send the whole file.") from None


def _check_cost(opened: Image.Image, data: bytes, most: int) -> None:
    width, height = opened.size
    if width * height > most:
        raise TooManyPixels(f"The image has {width} x {height} pixels; send one of at most {most}.")
    scans = data.count(b"\xff\xda") if "progressive" in opened.info else 1
    if width * height * scans > most * MOST_SCANS_OF_MOST_PIXELS:
        raise TooManyPixels(
            f"The image has {width} x {height} pixels in {scans} scans; save it as a baseline JPEG, or smaller."
        )


def _upright(opened: Image.Image) -> tuple[Image.Image, bool]:
    """The image as it is to be seen, and whether its width and height changed places."""
    stored = opened.size
    opened.load()
    try:
        turn = _UPRIGHT.get(opened.getexif().get(_ORIENTATION, 1))
    except Exception:
        # Damaged EXIF data spoils no pixel.
        turn = None
    upright = opened if turn is None else opened.transpose(turn)
    # (Pillow turns a TIFF by itself, as it loads it.)
    return upright, turn in _SIDEWAYS or (stored[0] != stored[1] and opened.size == stored[::-1])


def _rgb(image: Image.Image) -> Image.Image:
    """The image in red, green and blue; what is transparent is laid on white."""
    if image.mode.startswith("I;16"):
        image = _eight_bits(image, 65535)
    elif image.mode in ("I", "F"):
        image = _eight_bits(image, 65535 if np.nanmax(np.asarray(image), initial=0) > 255 else 255)
    if image.has_transparency_data:
        rgba = _as("RGBA", image)
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return _as("RGB", image)


def _as(mode: str, image: Image.Image) -> Image.Image:
    if image.mode == mode:
        return image
    try:
        return image.convert(mode)
    except ValueError:
        raise NotAnImage(
            f"The image's colours are of a kind that can't be read, {image.mode}; save it as RGB."
        ) from None


def _eight_bits(image: Image.Image, white: int) -> Image.Image:
    """A grey image of wide samples, `white` the greatest of them, as one of bytes."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32)) * (255 / white)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
