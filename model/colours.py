"""From whatever colours an image file has to grey or RGB of 8 bits; what is transparent is laid on white."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from model.errors import NotAnImage

# Where more than one step is needed, so many pixels are taken at a time: copies of an image are as large as itself.
BAND_PIXELS = 250_000


def without_alpha(image: Image.Image) -> Image.Image:
    """Convert a decoded image to `L` or `RGB`.

    Raises:
        NotAnImage: its colours are of a kind that can't be read.
    """
    if image.mode == "RGBA":
        return _laid_on_white(image)
    if image.mode == "LA":
        return _in_bands(image, "L", _grey_laid_on_white)
    if image.has_transparency_data:
        return _in_bands(image, "RGB", lambda band: _laid_on_white(_as("RGBA", band)))
    if image.mode.startswith("I;16"):
        return _in_bands(image, "L", lambda band: _eight_bits(band, 65535))
    if image.mode in ("I", "F"):
        white = 65535 if max(_greatest(band) for _, band in _bands(image)) > 255 else 255
        return _in_bands(image, "L", lambda band: _eight_bits(band, white))
    return image if image.mode == "L" else _as("L" if image.mode == "1" else "RGB", image)


def _in_bands(image: Image.Image, mode: str, convert) -> Image.Image:  # type: ignore[no-untyped-def]
    if image.width * image.height <= BAND_PIXELS:
        converted: Image.Image = convert(image)
        return converted
    whole = Image.new(mode, image.size)
    for top, band in _bands(image):
        whole.paste(convert(band), (0, top))
    return whole


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts of the image that are as wide as itself, from the top to the bottom, each with its place."""
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _laid_on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _grey_laid_on_white(image: Image.Image) -> Image.Image:
    grey, alpha = image.split()
    white = Image.new("L", image.size, 255)
    white.paste(grey, mask=alpha)
    return white


def _as(mode: str, image: Image.Image) -> Image.Image:
    if image.mode == mode:
        return image
    try:
        return image.convert(mode)
    except ValueError:
        raise NotAnImage(
            f"The image's colours are of a kind that can't be read, {image.mode}; save it as RGB."
        ) from None


def _greatest(image: Image.Image) -> float:
    return float(np.nanmax(np.asarray(image), initial=0))


def _eight_bits(image: Image.Image, white: int) -> Image.Image:
    """A grey image of wide samples, `white` the greatest of them, as one of bytes."""
    samples = np.asarray(image)
    if samples.dtype == np.uint16:
        # value * 255 / 65535, rounded, in whole numbers.
        return Image.fromarray(((samples.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8))
    values = np.nan_to_num(samples.astype(np.float32)) * (255 / white)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
