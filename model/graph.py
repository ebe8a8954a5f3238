"""The whole computation as one torch module: bytes of pixels in, probabilities out.

What the image processor does after resizing is part of the graph, so that engines take uint8 and no caller normalises.
Imported only where a model is prepared, and by the torch engine.
"""

import torch
from torch import Tensor, nn

from model.recipe import Recipe


class Classifier(nn.Module):
    """uint8, batch x height x width x 3 → float32 probabilities, batch x labels.

    Args:
        logits: float32, batch x 3 x height x width → logits, batch x labels.
        recipe: how pixels are rescaled and normalised.
    """

    def __init__(self, logits: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.logits = logits
        self.scale = recipe.scale
        self.register_buffer("mean", torch.tensor(recipe.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(recipe.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        planes = pixels.permute(0, 3, 1, 2).to(self.mean.dtype)
        return self.logits((planes * self.scale - self.mean) / self.std).softmax(-1)


class TransformersLogits(nn.Module):
    """A transformers image classifier, reduced to its logits."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, planes: Tensor) -> Tensor:
        return self.classifier(pixel_values=planes).logits
