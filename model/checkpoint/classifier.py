"""Defines the whole computation as one torch module: pixels as uint8 in, probabilities out.

Rescaling and normalisation are part of the module, so that engines take uint8 and no caller normalises. Imported only
to prepare a model, and by the torch engine.
"""

import torch
from torch import Tensor, nn

from model.recipe import Recipe


class Classifier(nn.Module):
    """uint8, batch x height x width x 3 (RGB) → float32 probabilities, batch x labels.

    Args:
        logits: a module: float32, batch x 3 x height x width → logits, batch x labels.
        recipe: how pixels are rescaled and normalised.
        function: turns logits into probabilities: `softmax` or `sigmoid`.
    """

    def __init__(self, logits: nn.Module, recipe: Recipe, function: str = "softmax") -> None:
        super().__init__()
        self.logits = logits
        self.scale = recipe.scale
        self.is_bgr = recipe.is_bgr
        self.function = function
        self.register_buffer("mean", torch.tensor(recipe.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(recipe.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        planes = pixels.permute(0, 3, 1, 2).to(self.mean.dtype)
        planes = (planes * self.scale - self.mean) / self.std
        logits = self.logits(planes.flip(1) if self.is_bgr else planes)
        return logits.sigmoid() if self.function == "sigmoid" else logits.softmax(-1)


class TransformersLogits(nn.Module):
    """Returns only the logits of an image classifier of transformers."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, planes: Tensor) -> Tensor:
        return self.classifier(pixel_values=planes).logits
