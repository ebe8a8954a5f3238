"""Loads and runs the reference: the checkpoint in transformers itself, in torch and float32."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from model.checkpoint.files import CONFIG, processor_file
from model.checkpoint.torch_loading import (
    CHOOSE_ANOTHER,
    LOCAL_AND_SAFE,
    as_unsupported,
    load_config,
    load_model,
)
from model.errors import UnsupportedModel


@dataclass(frozen=True)
class Reference:
    """A checkpoint that transformers has loaded.

    Attributes:
        processor: the image processor, in its version for Pillow.
        model: the classifier, in float32, ready to run.
        labels: the label of each class, in order.
        function: turns logits into probabilities, as in transformers' own pipeline: `softmax` or `sigmoid`.
    """

    processor: Any
    model: nn.Module
    labels: list[str]
    function: str

    def pixels(self, pictures: Sequence[Image.Image]) -> list[NDArray[np.float32]]:
        """Run the image processor on RGB pictures, one by one: float32, 3 x height x width for each."""
        return [np.asarray(self.processor(picture, return_tensors="np")["pixel_values"][0]) for picture in pictures]

    def probabilities(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Run processor and model on RGB pictures, one by one: float32 probabilities, pictures x labels."""
        rows = []
        with torch.inference_mode():
            for planes in self.pixels(pictures):
                [logits] = self.model(pixel_values=torch.from_numpy(planes)[None].float()).logits
                rows.append(logits.sigmoid() if self.function == "sigmoid" else logits.softmax(-1))
        return torch.stack(rows).numpy()


def load(folder: Path) -> Reference:
    """Load a checkpoint whose files have been checked (`checkpoint.files.check`).

    Raises:
        UnsupportedModel: transformers can't load it, or it is not an image classifier.
    """
    config = load_config(folder)
    function = _function(config)
    labels = _labels(config)
    return Reference(load_processor(folder), load_model(folder, config), labels, function)


def load_processor(folder: Path) -> Any:
    """Load the checkpoint's own image processor, in transformers' version for Pillow.

    Raises:
        UnsupportedModel: transformers can't load it.
    """
    from transformers import AutoImageProcessor

    # Named because transformers prefers torchvision where it is installed, which resizes differently.
    with as_unsupported(f"{processor_file(folder)}: transformers can't make an image processor of what it says"):
        return AutoImageProcessor.from_pretrained(folder, backend="pil", **LOCAL_AND_SAFE)


def _labels(config: Any) -> list[str]:
    if config.id2label is None:
        raise UnsupportedModel(
            f'{CONFIG}: id2label is missing; write it as {{"0": "first label", "1": "second label"}}.'
        )
    with as_unsupported(f"{CONFIG}: id2label can't be read"):
        # A label may be a number in the file; answers show text.
        return [str(config.id2label[number]) for number in range(len(config.id2label))]


def _function(config: Any) -> str:
    """Return the function that transformers' own pipeline applies to this checkpoint's logits."""
    if config.problem_type == "regression":
        raise UnsupportedModel(
            f"{CONFIG}: its problem_type is regression, whose answers are no probabilities; {CHOOSE_ANOTHER}."
        )
    return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"
