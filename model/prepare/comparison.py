"""Compares the model to serve with transformers: its input pixels, and its probabilities.

A model that differs by more than the limits below is not stored, so that no answer is wrong without a warning.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.checkpoint.files import CONFIG
from model.checkpoint.torch_loading import CHOOSE_ANOTHER, as_unsupported
from model.errors import UnsupportedModel
from model.images.resize import fit
from model.openvino_engine import OpenVinoEngine
from model.prepare.processors import recipe_of
from model.prepare.reference import Reference
from model.recipe import Recipe

# The largest difference of a probability between OpenVINO and torch, both in float32 (the contract's limit).
MOST_DIFFERENCE = 1e-4
# The largest difference of a normalised pixel between recipe and processor: only rounding stays below it.
MOST_PIXEL_DIFFERENCE = 1e-3
# Width and height of the test pictures: landscape, portrait, square, very long, larger and smaller than the input.
SIZES = ((500, 375), (375, 500), (224, 224), (97, 301), (640, 640), (1000, 80), (61, 900), (33, 47))


@cache
def pictures() -> tuple[Image.Image, ...]:
    """Make the RGB test pictures, with edges, gradients and noise: the same ones every time."""
    return tuple(_picture(*size, seed=number) for number, size in enumerate(SIZES))


def compared_recipe(loaded: Reference, file: str) -> Recipe:
    """Make a recipe from the checkpoint's image processor, and compare the pixels that both produce.

    Args:
        loaded: the checkpoint.
        file: the name of the file that configures the processor, for errors.

    Raises:
        UnsupportedModel: no recipe gives the same pixels as the processor.
    """
    with as_unsupported(f"{file}: it can't be understood"):
        recipe = recipe_of(loaded.processor, file)
    with as_unsupported(f"{file}: the image processor fails on ordinary images"):
        theirs = loaded.pixels(pictures())
    for picture, planes in zip(pictures(), theirs, strict=True):
        ours = _normalised(fit(picture, recipe), recipe)
        # With `not <=`, a NaN counts as a difference.
        if planes.shape != ours.shape or not np.abs(planes - ours).max() <= MOST_PIXEL_DIFFERENCE:
            name = type(loaded.processor).__name__
            raise UnsupportedModel(f"{file}: what {name} does to images can't be reproduced exactly; {CHOOSE_ANOTHER}.")
    return recipe


def expected_answers(loaded: Reference, recipe: Recipe) -> NDArray[np.float32]:
    """Compute the probabilities of the test pictures in transformers: float32, pictures x labels.

    Raises:
        UnsupportedModel: the model fails, has another number of classes than `id2label`, or answers NaN or infinity.
    """
    with as_unsupported(
        f"{CONFIG}: the model fails on images of {recipe.width} x {recipe.height}, which its processor makes"
    ):
        answers = loaded.probabilities(pictures())
    if answers.shape[1:] != (len(loaded.labels),):
        given = answers.shape[-1]
        raise UnsupportedModel(
            f"{CONFIG}: id2label names {len(loaded.labels)} labels, and the model has {given} classes; make them agree."
        )
    if not np.isfinite(answers).all():
        raise UnsupportedModel(f"model.safetensors: the model's answers are no finite numbers; {CHOOSE_ANOTHER}.")
    return answers


def largest_difference(graph: Path, recipe: Recipe, expected: NDArray[np.float32]) -> float:
    """Compare the OpenVINO graph's probabilities of the test pictures, in a batch and alone, with the expected ones.

    Args:
        graph: the file of the graph.
        recipe: how the pictures become its input.
        expected: float32, pictures x labels.

    Returns:
        the largest absolute difference of two probabilities.

    Raises:
        UnsupportedModel: the difference is larger than `MOST_DIFFERENCE`, or the graph fails.
    """
    batch = np.stack([fit(picture, recipe) for picture in pictures()])
    with as_unsupported("The model that OpenVINO made of the checkpoint fails"):
        # With one thread the graph is compiled once instead of twice.
        engine = OpenVinoEngine(graph, "f32", threads=1)
        together, alone = engine.predict(batch), engine.predict(batch[:1])
    difference = max(_difference(expected, together), _difference(expected[:1], alone))
    if not difference <= MOST_DIFFERENCE:
        raise UnsupportedModel(f"OpenVINO's answers are {difference:.1e} off transformers' own; {CHOOSE_ANOTHER}.")
    return difference


def _difference(theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> float:
    return float(np.abs(theirs - ours).max()) if theirs.shape == ours.shape else float("inf")


def _normalised(pixels: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.float32]:
    """Normalise pixels as the graph does before the network: float32, 3 x height x width."""
    mean, std = np.array(recipe.mean, np.float32), np.array(recipe.std, np.float32)
    planes = ((pixels * np.float32(recipe.scale) - mean) / std).transpose(2, 0, 1)
    return planes[::-1] if recipe.is_bgr else planes


def _picture(width: int, height: int, seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(random.uniform(2, 40) * down + random.uniform(2, 40) * across) for _ in range(3)]
    values: NDArray[np.float64] = np.stack(waves, -1) * 100 + 128 + random.normal(0, 12, (height, width, 3))
    values[height // 3 : height // 2, width // 4 : width // 2] = random.uniform(0, 255, 3)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
