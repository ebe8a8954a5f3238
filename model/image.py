"""From the bytes of an image file to the model's input, before the batch, so that one bad image spoils no other."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from model.errors import NotAnImage, TooManyPixels
from model.recipe import Recipe

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_NAMES = "JPEG, PNG, WebP, GIF, BMP or TIFF"

MOST_RESIZED_PIXELS = 4_000_000

# The limit is the project's own setting, looked at before a pixel is decoded; Pillow's would only warn.
Image.MAX_IMAGE_PIXELS = None
# What Pillow thinks of a file's finer points is nothing that an operator could mend.
warnings.filterwarnings("ignore", module=r"PIL\.")


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


def decode(data: bytes, recipe: Recipe, max_pixels: int) -> Decoded:
    """Read an image file and bring it to the size that the model takes.

    Raises:
        NotAnImage: the bytes are no image of a known format, or a damaged or truncated one.
        TooManyPixels: the image has more than `max_pixels`; it was not decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_pixels(opened, max_pixels)
            name = str(opened.format)
            image = _rgb(ImageOps.exif_transpose(opened))
    except TooManyPixels:
        raise
    except UnidentifiedImageError:
        raise NotAnImage(f"The data is no image of a known format; send a {_NAMES} file.") from None
    except Exception:
        # Pillow's decoders raise errors of many kinds over damaged data, OSError, SyntaxError and struct.error among
        # them; all mean the same to the caller.
        raise NotAnImage("The image is damaged or cut off; send the whole file.") from None
    return Decoded(fit(image, recipe), image.width, image.height, name)


def _check_pixels(opened: Image.Image, most: int) -> None:
    width, height = opened.size
    if width * height > most:
        raise TooManyPixels(f"The image has {width} x {height} pixels; send one of at most {most}.")


def _rgb(image: Image.Image) -> Image.Image:
    """The image in red, green and blue; what is transparent is laid on white."""
    image.load()
    if image.mode.startswith("I;16"):
        image = _eight_bits(image, 65535)
    elif image.mode in ("I", "F"):
        image = _eight_bits(image, 65535 if np.asarray(image).max(initial=0) > 255 else 255)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image, white: int) -> Image.Image:
    """A grey image of wide samples, `white` the greatest of them, as one of bytes."""
    values = np.asarray(image, dtype=np.float32) * (255 / white)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def fit(image: Image.Image, recipe: Recipe) -> NDArray[np.uint8]:
    """Resize and crop, to the pixel as the checkpoint's own processor does in Pillow."""
    resample = Image.Resampling(recipe.resample)
    if recipe.resize_shortest is None:
        return np.asarray(image.resize((recipe.width, recipe.height), resample))
    width, height = _scaled(image.width, image.height, recipe.resize_shortest)
    left, top = (width - recipe.width) // 2, (height - recipe.height) // 2
    crop = (left, top, left + recipe.width, top + recipe.height)
    if width * height <= MOST_RESIZED_PIXELS:
        return np.asarray(image.resize((width, height), resample).crop(crop))
    # A very long and thin image would be enormous before the crop: make only what is left of it after.
    across, down = image.width / width, image.height / height
    box = (crop[0] * across, crop[1] * down, crop[2] * across, crop[3] * down)
    return np.asarray(image.resize((recipe.width, recipe.height), resample, box))


def _scaled(width: int, height: int, shortest: int) -> tuple[int, int]:
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest
