"""From an image of any size to the model's: resized and cropped, to the pixel, or eight times as fast to a rounding.

Images are grey (`L`) or `RGB`; a grey one is resized as such, which gives the same values in a third of the time.
"""

import math
import threading
from dataclasses import dataclass, replace

import numpy as np
from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from numpy.typing import NDArray
from PIL import Image

from model.recipe import Recipe

# What is made before the crop, at most: an image so long and thin that it would be more is resized from its crop alone.
MOST_RESIZED_PIXELS = 4_000_000
# Pillow needs 32 bytes for each pixel along an edge. No file of a camera or a scanner has an edge as long.
LONGEST_EDGE = 500_000

_FILTERS = {
    Image.Resampling.BOX: FilterType.box,
    Image.Resampling.BILINEAR: FilterType.bilinear,
    Image.Resampling.BICUBIC: FilterType.catmull_rom,
    Image.Resampling.LANCZOS: FilterType.lanczos3,
}
_WIDEST_FILTER = 3  # Lanczos', in pixels to either side
_of_thread = threading.local()


def fit(image: Image.Image, recipe: Recipe) -> NDArray[np.uint8]:
    """Resize and crop a grey or RGB image, to the pixel as the checkpoint's own processor does in Pillow.

    Returns:
        uint8, height x width x 3 of the recipe.
    """
    image = _prepared(image, recipe)
    resample = Image.Resampling(recipe.resample)
    width, height = resized(image.size, recipe)
    if width * height <= MOST_RESIZED_PIXELS:
        whole = image.resize((width, height), resample)
        if (width, height) == (recipe.width, recipe.height):
            return _pixels(whole)
        left, top = (width - recipe.width) // 2, (height - recipe.height) // 2
        return _pixels(whole.crop((left, top, left + recipe.width, top + recipe.height)))
    across, down = _kept(image.size, recipe)
    box = (across.first, down.first, across.first + across.length, down.first + down.length)
    return _placed(image.resize((across.pixels, down.pixels), resample, box), across, down, recipe)


def fit_quickly(image: Image.Image, recipe: Recipe) -> NDArray[np.uint8]:
    """As `fit`, eight times as fast: the same convolutions in SIMD, and of what the crop keeps only.

    Rows are resized first, then columns, each pass rounded to a byte, as in Pillow: 1 value in 200 is off, by 1 or 2 in
    255. (Pillow takes very tall images the other way round; there 1 in 7 is off, by 1.) Both passes in one call would
    come in the other order, up to 15 off at sharp edges.
    """
    kernel = _FILTERS.get(Image.Resampling(recipe.resample))
    if kernel is None:
        return fit(image, recipe)
    image = _prepared(image, recipe)
    across, down = _kept(image.size, recipe)
    first, last = _rows_needed(down, image.height)
    if (last - first) * across.pixels > MOST_RESIZED_PIXELS:
        return fit(image, replace(recipe, keep=None))
    rows = Image.new(image.mode, (across.pixels, last - first))
    done = Image.new(image.mode, (across.pixels, down.pixels))
    convolution, resizer = ResizeAlg.convolution(kernel), _resizer()
    crop = CropBox(across.first, first, across.length, last - first)
    resizer.resize_pil(image, rows, ResizeOptions(convolution, crop_box=crop))
    crop = CropBox(0, down.first - first, across.pixels, down.length)
    resizer.resize_pil(rows, done, ResizeOptions(convolution, crop_box=crop))
    return _placed(done, across, down, recipe)


def resized(size: tuple[int, int], recipe: Recipe) -> tuple[int, int]:
    """The size, width and height, that an image of that size is resized to before it is cropped."""
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


@dataclass(frozen=True, slots=True)
class _Kept:
    """Along one axis, what the crop keeps of an image.

    Attributes:
        first, length: where it begins in the image, and how long it is there; in pixels, and parts of them.
        pixels: its length in the result.
        blank: how much of the result comes before it, black, where the resized image is smaller than the crop.
    """

    first: float
    length: float
    pixels: int
    blank: int

    @classmethod
    def of(cls, edge: int, resized_to: int, wanted: int) -> "_Kept":
        """What is kept of an edge that is resized, and then cropped to what is wanted."""
        begin = (resized_to - wanted) // 2
        first, last = max(0, begin), min(resized_to, begin + wanted)
        ratio = edge / resized_to
        return cls(first * ratio, min((last - first) * ratio, edge - first * ratio), last - first, first - begin)


def _kept(size: tuple[int, int], recipe: Recipe) -> tuple[_Kept, _Kept]:
    """What the crop keeps of an image of that size, across and down."""
    width, height = resized(size, recipe)
    return _Kept.of(size[0], width, recipe.width), _Kept.of(size[1], height, recipe.height)


def _rows_needed(down: _Kept, height: int) -> tuple[int, int]:
    """The rows that the convolution along columns reads."""
    reach = math.ceil(_WIDEST_FILTER * max(1.0, down.length / down.pixels)) + 1
    return max(0, math.floor(down.first) - reach), min(height, math.ceil(down.first + down.length) + reach)


def _prepared(image: Image.Image, recipe: Recipe) -> Image.Image:
    """The part of the image that is resized, with no edge that is too long."""
    if recipe.keep is not None:
        shorter = min(image.size)
        across, down = (max(1, int(share * shorter)) for share in recipe.keep[::-1])
        left, top = (image.width - across) // 2, (image.height - down) // 2
        image = image.crop((left, top, left + across, top + down))
    return _shortened(image) if recipe.resize_shortest is None else image


def _placed(image: Image.Image, across: _Kept, down: _Kept, recipe: Recipe) -> NDArray[np.uint8]:
    """The result, with the part of it that the image makes up where it belongs."""
    if image.size == (recipe.width, recipe.height):
        return _pixels(image)
    result = Image.new(image.mode, (recipe.width, recipe.height))
    result.paste(image, (across.blank, down.blank))
    return _pixels(result)


def _shortened(image: Image.Image) -> Image.Image:
    """The image with no edge longer than `LONGEST_EDGE`: the mean of every so many pixels, where it is longer."""
    across, down = (math.ceil(edge / LONGEST_EDGE) for edge in image.size)
    return image if across == down == 1 else image.reduce((across, down))


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _resizer() -> Resizer:
    # Each thread has one of its own, which keeps its buffers.
    if not hasattr(_of_thread, "resizer"):
        _of_thread.resizer = Resizer()
    resizer: Resizer = _of_thread.resizer
    return resizer
