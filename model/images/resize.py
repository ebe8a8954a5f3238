"""Resizes and crops an image to the model's size: exactly, or eight times as fast with rounding differences.

Images are grey (`L`) or `RGB`. A grey image is resized as grey, which gives the same values in a third of the time.
"""

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from numpy.typing import NDArray
from PIL import Image

from model.recipe import Recipe

Convert = Callable[[Image.Image], Image.Image]
# Left, top, right and bottom, in pixels.
Box = tuple[int, int, int, int]

# The largest image made before the crop, in pixels. For a longer and thinner image, only the cropped part is resized.
MOST_RESIZED_PIXELS = 4_000_000
# In pixels. Pillow needs 32 bytes for each pixel along an edge; no camera or scanner makes an edge as long.
LONGEST_EDGE = 500_000

# Rows are converted and resized in bands of this many pixels: a band stays in the processor's cache.
BAND_PIXELS = 250_000

_FILTERS = {
    Image.Resampling.BOX: FilterType.box,
    Image.Resampling.BILINEAR: FilterType.bilinear,
    Image.Resampling.BICUBIC: FilterType.catmull_rom,
    Image.Resampling.LANCZOS: FilterType.lanczos3,
}
_WIDEST_FILTER = 3  # of Lanczos, in pixels to each side
_per_thread = threading.local()


def fit(image: Image.Image, recipe: Recipe) -> NDArray[np.uint8]:
    """Resize and crop a grey or RGB image; the pixels equal those of the checkpoint's own processor in Pillow.

    Returns:
        uint8, height x width x 3 of the recipe.
    """
    if recipe.keep is not None:
        image = image.crop(_kept(image.size, recipe))
    elif recipe.resize_shortest is None:
        image = _limit_edges(image)
    resample = Image.Resampling(recipe.resample)
    width, height = resized_size(image.size, recipe)
    if width * height <= MOST_RESIZED_PIXELS:
        whole = image.resize((width, height), resample)
        if (width, height) == (recipe.width, recipe.height):
            return _pixels(whole)
        left, top = (width - recipe.width) // 2, (height - recipe.height) // 2
        return _pixels(whole.crop((left, top, left + recipe.width, top + recipe.height)))
    across, down = _spans(image.size, recipe)
    box = (across.first, down.first, across.first + across.length, down.first + down.length)
    return _on_black(image.resize((across.pixels, down.pixels), resample, box), across, down, recipe)


def fit_quickly(image: Image.Image, recipe: Recipe, convert: Convert | None = None) -> NDArray[np.uint8]:
    """Resize and crop like `fit`, eight times as fast: the same convolutions in SIMD, only for the pixels of the crop.

    Rows are resized first, then columns, and each pass rounds to a byte, as in Pillow: 1 value in 200 differs, by 1 or
    2 in 255. For very tall images Pillow uses the opposite order; there 1 value in 7 differs, by 1. A single call for
    both passes would use the opposite order too, with differences of up to 15 at sharp edges.

    Args:
        image: grey or RGB, or in any of Pillow's modes that `convert` takes.
        recipe: the size, and how to reach it.
        convert: converts an image, or a part of it, to grey or RGB. Only the part that the result depends on is
            converted, band by band: a copy of a large image in other colours takes long to make.

    Returns:
        uint8, height x width x 3 of the recipe.
    """
    kernel = _FILTERS.get(Image.Resampling(recipe.resample))
    if convert is not None and (kernel is None or max(image.size) > LONGEST_EDGE):
        image, convert = convert(image), None
    if kernel is None:
        return fit(image, recipe)
    if recipe.keep is None and recipe.resize_shortest is None:
        image = _limit_edges(image)
    kept = _kept(image.size, recipe)
    size = (kept[2] - kept[0], kept[3] - kept[1])
    across, down = _spans(size, recipe)
    first, last = _pixels_needed(down, size[1])
    if (last - first) * across.pixels > MOST_RESIZED_PIXELS:
        return fit(image if convert is None else convert(image), recipe)
    if convert is None and size != image.size:
        # Band by band, the part that is kept needs no copy in one piece.
        convert = _as_it_is
    convolution = ResizeAlg.convolution(kernel)
    rows = _resize_rows(image, kept, across, range(first, last), convert, convolution)
    done = Image.new(rows.mode, (across.pixels, down.pixels))
    crop = CropBox(0, down.first - first, across.pixels, down.length)
    _resizer().resize_pil(rows, done, ResizeOptions(convolution, crop_box=crop))
    return _on_black(done, across, down, recipe)


def _resize_rows(
    image: Image.Image, kept: Box, across: "_Span", rows: range, convert: Convert | None, convolution: ResizeAlg
) -> Image.Image:
    """Resize those rows of what is kept, each by itself; where they have to be converted, a band at a time."""
    if convert is None:
        crop = CropBox(across.first, rows.start, across.length, len(rows))
        resized = Image.new(image.mode, (across.pixels, len(rows)))
        _resizer().resize_pil(image, resized, ResizeOptions(convolution, crop_box=crop))
        return resized
    left, right = _pixels_needed(across, kept[2] - kept[0])
    bands = []
    for top, bottom in _bands(rows, right - left):
        band = convert(image.crop((kept[0] + left, kept[1] + top, kept[0] + right, kept[1] + bottom)))
        part = Image.new(band.mode, (across.pixels, band.height))
        crop = CropBox(across.first - left, 0, across.length, band.height)
        _resizer().resize_pil(band, part, ResizeOptions(convolution, crop_box=crop))
        bands.append((top, part))
    whole = Image.new(bands[0][1].mode, (across.pixels, len(rows)))
    for top, part in bands:
        whole.paste(part, (0, top - rows.start))
    return whole


def _bands(rows: range, width: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and the end of each band."""
    height = max(1, BAND_PIXELS // width)
    for top in range(rows.start, rows.stop, height):
        yield top, min(top + height, rows.stop)


def resized_size(size: tuple[int, int], recipe: Recipe) -> tuple[int, int]:
    """Return width and height to which an image of that size is resized before it is cropped."""
    width, height = size
    shortest = recipe.resize_shortest
    if shortest is None:
        down, across = recipe.squeeze or (recipe.height, recipe.width)
        return across, down
    if width <= height:
        across, down = shortest, int(shortest * height / width)
    else:
        across, down = int(shortest * width / height), shortest
    return across + -across % recipe.multiple, down + -down % recipe.multiple


def scaled_size(size: tuple[int, int], recipe: Recipe) -> tuple[int, int]:
    """Return width and height that the whole image would have on the scale of the result, in whole pixels."""
    left, top, right, bottom = _kept(size, recipe)
    across, down = resized_size((right - left, bottom - top), recipe)
    return math.ceil(across * size[0] / (right - left)), math.ceil(down * size[1] / (bottom - top))


@dataclass(frozen=True, slots=True)
class _Span:
    """The part of an image that remains after the crop, along one axis.

    Attributes:
        first, length: start and length of the part in the image, in pixels and fractions of pixels.
        pixels: length of the part in the result.
        blank: black pixels of the result before the part, where the resized image is smaller than the crop.
    """

    first: float
    length: float
    pixels: int
    blank: int

    @classmethod
    def of(cls, edge: int, resized_to: int, wanted: int) -> "_Span":
        """Return the part of an edge that remains after resizing to `resized_to` and cropping to `wanted` pixels."""
        begin = (resized_to - wanted) // 2
        first, last = max(0, begin), min(resized_to, begin + wanted)
        ratio = edge / resized_to
        return cls(first * ratio, min((last - first) * ratio, edge - first * ratio), last - first, first - begin)


def _spans(size: tuple[int, int], recipe: Recipe) -> tuple[_Span, _Span]:
    """Return the parts of an image of that size that remain after the crop: across and down."""
    width, height = resized_size(size, recipe)
    return _Span.of(size[0], width, recipe.width), _Span.of(size[1], height, recipe.height)


def _pixels_needed(part: _Span, edge: int) -> tuple[int, int]:
    """Return the first pixel and the end of the pixels along an edge that the convolution for that part reads."""
    reach = math.ceil(_WIDEST_FILTER * max(1.0, part.length / part.pixels)) + 1
    return max(0, math.floor(part.first) - reach), min(edge, math.ceil(part.first + part.length) + reach)


def _kept(size: tuple[int, int], recipe: Recipe) -> Box:
    """Return the part of an image of that size that is left by the crop before resizing: the whole without `keep`."""
    if recipe.keep is None:
        return (0, 0, *size)
    shorter = min(size)
    across, down = (max(1, int(share * shorter)) for share in recipe.keep[::-1])
    left, top = (size[0] - across) // 2, (size[1] - down) // 2
    return left, top, left + across, top + down


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


def _on_black(image: Image.Image, across: _Span, down: _Span, recipe: Recipe) -> NDArray[np.uint8]:
    """Return the result as an array: the image, with black around it where it is smaller than the result."""
    if image.size == (recipe.width, recipe.height):
        return _pixels(image)
    result = Image.new(image.mode, (recipe.width, recipe.height))
    result.paste(image, (across.blank, down.blank))
    return _pixels(result)


def _limit_edges(image: Image.Image) -> Image.Image:
    """Average blocks of pixels where an edge is longer than `LONGEST_EDGE`."""
    across, down = (math.ceil(edge / LONGEST_EDGE) for edge in image.size)
    return image if across == down == 1 else image.reduce((across, down))


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _resizer() -> Resizer:
    # Each thread has its own resizer, which keeps its buffers.
    if not hasattr(_per_thread, "resizer"):
        _per_thread.resizer = Resizer()
    resizer: Resizer = _per_thread.resizer
    return resizer
