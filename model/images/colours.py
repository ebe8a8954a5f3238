"""From whatever colours an image file has to grey or RGB of 8 bits; what is transparent is laid on white."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageChops

from model.errors import NotAnImage
from model.images.formats.samples import SIGNED, UNSIGNED, Samples

# Where more than one step is needed, so many pixels are taken at a time: copies of an image are as large as itself.
BAND_PIXELS = 250_000
# Modes whose colours are already multiplied by their alpha, and what they make on white.
_MULTIPLIED = {"La": "L", "RGBa": "RGB"}


def without_alpha(image: Image.Image, samples: Samples) -> Image.Image:
    """Convert a decoded image to `L` or `RGB`.

    Args:
        image: in any of Pillow's modes.
        samples: what its samples are, where they are not of 8 bits.

    Raises:
        NotAnImage: its colours are of a kind that can't be read.
    """
    if image.mode == "RGBA":
        return _laid_on_white(image)
    if image.mode == "LA":
        return in_bands(image, "L", _grey_laid_on_white)
    if image.mode in _MULTIPLIED:
        return in_bands(image, _MULTIPLIED[image.mode], _multiplied_laid_on_white)
    if image.mode.startswith("I;16") or image.mode in ("I", "F") or samples.kind == SIGNED:
        return in_bands(image, "L", lambda band: _eight_bits(band, samples, image.info.get("transparency")))
    if image.has_transparency_data:
        return in_bands(image, "RGB", lambda band: _laid_on_white(_as("RGBA", band)))
    return image if image.mode == "L" else _as("L" if image.mode == "1" else "RGB", image)


def in_bands(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert an image to another mode, some rows at a time."""
    if image.width * image.height <= BAND_PIXELS:
        return convert(image)
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


def _multiplied_laid_on_white(image: Image.Image) -> Image.Image:
    *colours, alpha = image.split()
    white = ImageChops.invert(alpha)
    return Image.merge(_MULTIPLIED[image.mode], [ImageChops.add(colour, white) for colour in colours])


def _as(mode: str, image: Image.Image) -> Image.Image:
    if image.mode == mode:
        return image
    try:
        return image.convert(mode)
    except ValueError:
        raise NotAnImage(
            f"The image's colours are of a kind that can't be read, {image.mode}; save it as RGB."
        ) from None


def _eight_bits(image: Image.Image, samples: Samples, transparent: object) -> Image.Image:
    """A grey image of wide or signed samples as one of bytes; samples of the transparent value become white."""
    values = np.asarray(image)
    if samples.kind == UNSIGNED and values.dtype == np.int32:
        values = values.view(np.uint32)
    elif samples.kind == SIGNED and values.dtype == np.uint8:
        values = values.view(np.int8)
    made = samples.in_eight_bits(values)
    if isinstance(transparent, int):
        made[values == transparent] = 255
    return Image.fromarray(made)
