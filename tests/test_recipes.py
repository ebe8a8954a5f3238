"""Resizing by every kind of recipe: exactly and quickly the same, within bounds for images of any proportions."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.images.colours import without_alpha
from model.images.formats.samples import Samples
from model.images.resize import fit, fit_quickly
from model.recipe import Recipe
from model.store import open_folder
from testing.photographs import crops

_PLAIN = (1 / 255, (0.0,) * 3, (1.0,) * 3)
RECIPES = {
    "squeeze": Recipe(None, 3, 48, 64, *_PLAIN),
    "squeeze-and-crop": Recipe(None, 2, 48, 48, *_PLAIN, squeeze=(56, 70)),
    "shortest-and-crop": Recipe(73, 3, 64, 64, *_PLAIN),
    "shortest-and-black": Recipe(56, 3, 64, 64, *_PLAIN),
    "odd-black": Recipe(51, 1, 64, 65, *_PLAIN),
    "multiple": Recipe(70, 2, 64, 64, *_PLAIN, multiple=32),
    "keep": Recipe(None, 3, 48, 64, *_PLAIN, keep=(0.8, 0.9)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_lives_through_its_file(name: str) -> None:
    assert Recipe.from_dict(RECIPES[name].to_dict()) == RECIPES[name]


def test_recipes_of_before_are_still_understood() -> None:
    """Models that were prepared by an earlier version stay usable."""
    old = {"resize_shortest": 256, "resample": 3, "height": 224, "width": 224, "scale": 1.0}
    recipe = Recipe.from_dict({**old, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]})
    assert (recipe.squeeze, recipe.multiple, recipe.keep, recipe.is_bgr) == (None, 1, None, False)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_quickly_is_off_by_a_rounding(name: str, mode: str) -> None:
    recipe = RECIPES[name]
    for image in crops(6):
        exact, quick = (resize(image.convert(mode), recipe) for resize in (fit, fit_quickly))
        assert exact.shape == quick.shape == (recipe.height, recipe.width, 3)
        assert np.abs(exact.astype(int) - quick).max() <= 2


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "1"])
def test_other_colours_are_converted_in_bands_as_they_are_in_one(name: str, mode: str) -> None:
    image = crops(1)[0].resize((900, 700))
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image = image.convert("RGB").convert(mode) if mode == "CMYK" else image.convert(mode)
    convert = partial(without_alpha, samples=Samples(8))
    at_once, in_bands = fit_quickly(convert(image), RECIPES[name]), fit_quickly(image, RECIPES[name], convert)
    assert np.abs(at_once.astype(int) - in_bands).max() <= 1


def test_black_surrounds_what_is_too_small() -> None:
    white = Image.new("RGB", (100, 100), "white")
    for resize in (fit, fit_quickly):
        seen = resize(white, RECIPES["shortest-and-black"])
        assert (seen[4:60, 4:60] == 255).all()
        assert seen.sum() == 56 * 56 * 3 * 255


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", [(1, 200_000), (200_000, 1), (3, 60_000), (1, 1), (2, 1)])
def test_images_of_any_proportions_are_taken(name: str, size: tuple[int, int]) -> None:
    """What they cost is measured in `test_image_headers.py`."""
    recipe = RECIPES[name]
    for resize in (fit, fit_quickly):
        seen = resize(Image.new("RGB", size, "white"), recipe)
        assert seen.shape == (recipe.height, recipe.width, 3)
        assert (seen[recipe.height // 2, recipe.width // 2] == 255).all()


def test_models_that_were_prepared_before_functions_stay_with_softmax(tmp_path: Path) -> None:
    recipe = Recipe(256, 3, 224, 224, *_PLAIN).to_dict()
    manifest = {"origin": "o", "name": "n", "revision": "r", "stand_in": False, "labels": ["a"], "recipe": recipe}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert open_folder("n:r", tmp_path).manifest.function == "softmax"
