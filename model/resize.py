"""From an image of any size to the model's: resized and cropped, to the pixel, or eight times as fast to a rounding.

Images are grey (`L`) or `RGB`; a grey one is resized as such, which gives the same values in a third of the time.
"""

import math
import threading

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
    resample, size = Image.Resampling(recipe.resample), (recipe.width, recipe.height)
    if recipe.resize_shortest is None:
        return _pixels(_shortened(image).resize(size, resample))
    width, height = resized(image.size, recipe)
    left, top = (width - recipe.width) // 2, (height - recipe.height) // 2
    if width * height <= MOST_RESIZED_PIXELS:
        crop = (left, top, left + recipe.width, top + recipe.height)
        return _pixels(image.resize((width, height), resample).crop(crop))
    x, y, across, down = _cropped(image.size, recipe)
    return _pixels(image.resize(size, resample, (x, y, x + across, y + down)))


def fit_quickly(image: Image.Image, recipe: Recipe) -> NDArray[np.uint8]:
    """As `fit`, eight times as fast: the same convolutions in SIMD, and of what the crop keeps only.

    Rows are resized first, then columns, each pass rounded to a byte, as in Pillow: 1 value in 200 is off, by 1 or 2 in
    255. (Pillow takes very tall images the other way round; there 1 in 7 is off, by 1.) Both passes in one call would
    come in the other order, up to 15 off at sharp edges.
    """
    if recipe.resize_shortest is None:
        image = _shortened(image)
    kernel = _FILTERS.get(Image.Resampling(recipe.resample))
    x, y, across, down = _cropped(image.size, recipe)
    first, last = _rows_needed(y, down, image.height, recipe)
    if kernel is None or min(x, y) < 0 or (last - first) * recipe.width > MOST_RESIZED_PIXELS:
        return fit(image, recipe)
    rows = Image.new(image.mode, (recipe.width, last - first))
    done = Image.new(image.mode, (recipe.width, recipe.height))
    convolution, resizer = ResizeAlg.convolution(kernel), _resizer()
    resizer.resize_pil(image, rows, ResizeOptions(convolution, crop_box=CropBox(x, first, across, last - first)))
    resizer.resize_pil(rows, done, ResizeOptions(convolution, crop_box=CropBox(0, y - first, recipe.width, down)))
    return _pixels(done)


def resized(size: tuple[int, int], recipe: Recipe) -> tuple[int, int]:
    """The size, width and height, that an image of that size is resized to before it is cropped."""
    width, height = size
    shortest = recipe.resize_shortest
    if shortest is None:
        return recipe.width, recipe.height
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest


def _cropped(size: tuple[int, int], recipe: Recipe) -> tuple[float, float, float, float]:
    """The part of an image of that size that is left after the crop: left, top, width and height."""
    width, height = resized(size, recipe)
    left, top = (width - recipe.width) // 2, (height - recipe.height) // 2
    across, down = size[0] / width, size[1] / height
    x, y = left * across, top * down
    return x, y, min(recipe.width * across, size[0] - x), min(recipe.height * down, size[1] - y)


def _rows_needed(y: float, down: float, height: int, recipe: Recipe) -> tuple[int, int]:
    """The rows that the convolution along columns reads, for an image whose crop begins at `y` and is `down` high."""
    reach = math.ceil(_WIDEST_FILTER * max(1.0, down / recipe.height)) + 1
    return max(0, math.floor(y) - reach), min(height, math.ceil(y + down) + reach)


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
