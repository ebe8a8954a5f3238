"""Converts the colours of any image to grey or RGB with 8 bits; transparent pixels become white."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageChops

from model.errors import NotAnImage
from model.images.formats.samples import SIGNED, UNSIGNED, Samples

# Conversions of several steps work on bands of this many pixels, since each step copies its input.
BAND_PIXELS = 250_000
# Modes with premultiplied alpha, and the mode of the result.
_PREMULTIPLIED = {"La": "L", "RGBa": "RGB"}


def is_grey_or_rgb(image: Image.Image, samples: Samples) -> bool:
    """Return whether `without_alpha` would return the image as it is."""
    return image.mode in ("L", "RGB") and samples.kind != SIGNED and not image.has_transparency_data


def without_alpha(image: Image.Image, samples: Samples) -> Image.Image:
    """Convert a decoded image to `L` or `RGB`.

    Args:
        image: in any of Pillow's modes.
        samples: describes the samples of a grey image with more than 8 bits, or signed ones.

    Raises:
        NotAnImage: Pillow can't convert its mode.
    """
    if image.mode == "RGBA":
        return _rgb_on_white(image)
    if image.mode == "LA":
        return convert_in_bands(image, "L", _grey_on_white)
    if image.mode in _PREMULTIPLIED:
        return convert_in_bands(image, _PREMULTIPLIED[image.mode], _premultiplied_on_white)
    if image.mode.startswith("I;16") or image.mode in ("I", "F") or samples.kind == SIGNED:
        return convert_in_bands(image, "L", lambda band: _eight_bits(band, samples, image.info.get("transparency")))
    if image.has_transparency_data:
        return convert_in_bands(image, "RGB", lambda band: _rgb_on_white(_convert("RGBA", band)))
    return image if image.mode == "L" else _convert("L" if image.mode == "1" else "RGB", image)


def convert_in_bands(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert an image to another mode, one band of rows at a time."""
    if image.width * image.height <= BAND_PIXELS:
        return convert(image)
    whole = Image.new(mode, image.size)
    for top, band in _bands(image):
        whole.paste(convert(band), (0, top))
    return whole


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield bands of full width from top to bottom, each after the number of its first row."""
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _rgb_on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _grey_on_white(image: Image.Image) -> Image.Image:
    grey, alpha = image.split()
    white = Image.new("L", image.size, 255)
    white.paste(grey, mask=alpha)
    return white


def _premultiplied_on_white(image: Image.Image) -> Image.Image:
    *colours, alpha = image.split()
    white = ImageChops.invert(alpha)
    return Image.merge(_PREMULTIPLIED[image.mode], [ImageChops.add(colour, white) for colour in colours])


def _convert(mode: str, image: Image.Image) -> Image.Image:
    if image.mode == mode:
        return image
    try:
        return image.convert(mode)
    except ValueError:
        raise NotAnImage(
            f"The image's colours are of a kind that can't be read, {image.mode}; save it as RGB."
        ) from None


def _eight_bits(image: Image.Image, samples: Samples, transparent: object) -> Image.Image:
    """Convert a grey image of wide or signed samples to 8 bits; samples of the transparent value become white."""
    values = np.asarray(image)
    if samples.kind == UNSIGNED and values.dtype == np.int32:
        values = values.view(np.uint32)
    elif samples.kind == SIGNED and values.dtype == np.uint8:
        values = values.view(np.int8)
    grey = samples.in_eight_bits(values)
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)
