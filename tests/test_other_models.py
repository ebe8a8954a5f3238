"""Other families than ResNet: small ones made on the spot, prepared as an operator would, and one that is refused."""

from pathlib import Path
from typing import Any

import pytest

from testing.servers import run_prepare


def save(folder: Path, classifier: Any, processor: Any) -> None:
    classifier.eval().save_pretrained(folder)
    processor.save_pretrained(folder)


def vit(folder: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    config = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, num_labels=7)
    processor = ViTImageProcessorPil(size={"height": 224, "width": 224}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    save(folder, ViTForImageClassification(config), processor)


def mobilenet(folder: Path) -> None:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, MobileNetV2ImageProcessorPil

    config = MobileNetV2Config(depth_multiplier=0.35, num_labels=5)
    processor = MobileNetV2ImageProcessorPil(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224})
    save(folder, MobileNetV2ForImageClassification(config), processor)


@pytest.mark.parametrize("make", [vit, mobilenet])
def test_other_classifiers_are_prepared_and_agree_with_the_reference(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "other")
    done = run_prepare(tmp_path / "home" / "models", CLASSIFIER_MODEL=str(tmp_path / "other"))
    assert done.returncode == 0, done.stderr
    assert "from torch in float32" in done.stderr


def test_a_checkpoint_that_is_no_classifier_is_refused_in_one_line(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    config = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    save(tmp_path / "backbone", ViTModel(config), ViTImageProcessorPil())
    done = run_prepare(tmp_path / "home" / "models", CLASSIFIER_MODEL=str(tmp_path / "backbone"))
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert "fine-tuned" in line
    assert "Traceback" not in done.stderr
