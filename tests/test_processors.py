"""Each kind of image processor, in the settings that checkpoints come with: to the pixel, or refused with a reason."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from model.errors import UnsupportedModel
from model.recipe import Recipe
from tests.families import FAMILIES

# torch takes seconds to import: only tests that use it do, not each process that collects them.
if TYPE_CHECKING:
    from model.prepare.reference import Reference

FILE = "preprocessor_config.json"
SQUARE, TALL = {"height": 64, "width": 64}, {"height": 64, "width": 48}

EXACT: list[tuple[str, dict[str, Any]]] = [
    ("Beit", {"size": {"height": 80, "width": 80}, "crop_size": SQUARE, "do_center_crop": True}),
    ("Bit", {"size": {"shortest_edge": 80}, "crop_size": TALL}),
    ("Bit", {"size": SQUARE, "do_center_crop": False}),
    ("CLIP", {}),
    ("CLIP", {"size": 64, "crop_size": 64, "do_convert_rgb": False}),
    ("CLIP", {"size": {"shortest_edge": 63}, "crop_size": {"height": 48, "width": 47}}),
    ("ConvNext", {"size": {"shortest_edge": 224}}),
    ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}),
    ("ConvNext", {"size": {"shortest_edge": 384}, "crop_pct": None}),
    ("ConvNext", {"size": {"shortest_edge": 400}, "crop_pct": 1.0}),
    ("DeiT", {}),
    ("DeiT", {"do_center_crop": False, "size": SQUARE}),
    ("EfficientNet", {}),
    ("EfficientNet", {"include_top": False, "rescale_offset": True, "rescale_factor": 1 / 127.5}),
    ("EfficientNet", {"rescale_offset": True, "rescale_factor": 1 / 127.5}),
    ("EfficientNet", {"do_normalize": False}),
    ("EfficientNet", {"do_rescale": False, "rescale_offset": True}),
    ("EfficientNet", {"do_center_crop": True, "size": {"height": 80, "width": 72}, "crop_size": SQUARE}),
    ("Levit", {}),
    ("Levit", {"size": {"height": 80, "width": 72}, "crop_size": SQUARE}),
    ("MobileNetV1", {}),
    ("MobileNetV2", {"size": {"shortest_edge": 64}, "crop_size": {"height": 70, "width": 75}}),
    ("MobileViT", {}),
    ("MobileViT", {"do_flip_channel_order": False}),
    ("MobileViT", {"do_normalize": True, "size": {"shortest_edge": 288}}),
    ("Perceiver", {}),
    ("Perceiver", {"size": TALL, "crop_size": {"height": 90, "width": 70}}),
    ("Perceiver", {"do_center_crop": False}),
    ("PoolFormer", {}),
    ("PoolFormer", {"crop_pct": 0.95, "size": SQUARE, "crop_size": SQUARE}),
    ("PoolFormer", {"crop_pct": 0.9, "size": TALL, "crop_size": TALL}),
    ("Pvt", {"do_rescale": False}),
    ("Segformer", {"do_center_crop": True, "crop_size": {"height": 9, "width": 9}}),
    ("Siglip", {"do_normalize": False}),
    ("TextNet", {"size": {"shortest_edge": 100}, "do_center_crop": True, "crop_size": SQUARE}),
    ("ViT", {"image_mean": 0.4, "image_std": 0.3}),
    *(("ViT", {"resample": number}) for number in range(6)),
]
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("Bit", {"do_center_crop": False}, "proportions"),
    ("Bit", {"size": {"shortest_edge": 64, "longest_edge": 128}}, "longest_edge"),
    ("Bit", {"do_resize": False}, "resize"),
    ("ConvNext", {"size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": SQUARE}, "twice"),
    ("Donut", {}, "resizes twice"),
    ("Gemma3", {}, "language model"),
    ("Perceiver", {"size": SQUARE, "crop_size": {"height": 32, "width": 32}}, "crop_size"),
    ("PoolFormer", {"do_center_crop": False}, "proportions"),
    ("Siglip2", {}, "NaFlex"),
    ("TextNet", {}, "proportions"),
    ("ViT", {"do_center_crop": True, "crop_size": None}, "crop_size"),
    ("ViT", {"rescale_factor": float("inf")}, "rescale_factor"),
    ("LlavaNext", {}, "can't be reproduced"),
]


def loaded(kind: str, settings: dict[str, Any]) -> "Reference":
    import transformers
    from torch import nn

    from model.prepare.reference import Reference

    return Reference(getattr(transformers, f"{kind}ImageProcessorPil")(**settings), nn.Identity(), [], "softmax")


def compared(kind: str, settings: dict[str, Any]) -> Recipe:
    from model.prepare.comparison import compared_recipe

    return compared_recipe(loaded(kind, settings), FILE)


@pytest.mark.parametrize(("kind", "settings"), EXACT)
def test_a_recipe_is_the_processor_to_the_pixel(kind: str, settings: dict[str, Any]) -> None:
    assert isinstance(compared(kind, settings), Recipe)


@pytest.mark.parametrize(("kind", "settings", "reason"), REFUSED)
def test_what_no_recipe_says_is_refused(kind: str, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedModel) as refused:
        compared(kind, settings)
    assert str(refused.value).startswith(f"{FILE}: ")
    assert reason in str(refused.value)


@pytest.mark.parametrize("kind", sorted({family.processor for family in FAMILIES.values() if not family.refused}))
def test_a_processor_goes_by_each_of_its_names(kind: str, tmp_path: Path) -> None:
    """Its own, that of the version on torchvision, and the one from before there were image processors."""
    from transformers import ViTConfig

    from model.prepare import reference

    ViTConfig().save_pretrained(tmp_path)
    loaded(kind, {}).processor.save_pretrained(tmp_path)
    path, classes = tmp_path / FILE, set()
    plain = json.loads(path.read_text())
    plain.pop("image_processor_type")
    for name in (
        {"image_processor_type": f"{kind}ImageProcessor"},
        {"image_processor_type": f"{kind}ImageProcessorFast"},
    ):
        path.write_text(json.dumps({**plain, **name}))
        classes.add(type(reference.load_processor(tmp_path)).__name__)
    path.write_text(json.dumps({**plain, "feature_extractor_type": f"{kind}FeatureExtractor"}))
    classes.add(type(reference.load_processor(tmp_path)).__name__)
    assert classes == {f"{kind}ImageProcessorPil"}


def test_a_wrong_recipe_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is the net: a recipe off by one pixel, or by one deviation, is refused."""
    right = compared("CLIP", {})
    for wrong in ({"resize_shortest": 223}, {"resample": 2}, {"std": (0.26, 0.26, 0.26)}, {"is_bgr": True}):
        changed = Recipe.from_dict({**right.to_dict(), **wrong})
        monkeypatch.setattr("model.prepare.comparison.recipe_of", lambda *_, made=changed: made)
        with pytest.raises(UnsupportedModel, match="exactly"):
            compared("CLIP", {})


def test_nan_is_never_close_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.full((3, 224, 224), np.nan, np.float32)
    monkeypatch.setattr("model.prepare.reference.Reference.pixels", lambda _, pictures: [nothing for _ in pictures])
    with pytest.raises(UnsupportedModel, match="exactly"):
        compared("ViT", {})
