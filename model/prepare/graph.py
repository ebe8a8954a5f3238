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
        function: what makes probabilities of logits: `softmax` or `sigmoid`.
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
    """A transformers image classifier, reduced to its logits."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, planes: Tensor) -> Tensor:
        return self.classifier(pixel_values=planes).logits


class _WholePool(nn.Module):
    """Pool planes whose every edge fits into the window: what EfficientNet does with a window of 2560 pixels."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, planes: Tensor) -> Tensor:
        if max(planes.shape[2:]) > self.pool.kernel_size:
            return self.pool(planes)
        if isinstance(self.pool, nn.MaxPool2d):
            return planes.amax((2, 3), keepdim=True)
        return planes.mean((2, 3), keepdim=True)


def make_convertible(module: nn.Module) -> None:
    """Replace the layers of a module that OpenVINO can't convert by others that compute the same."""
    for name, child in module.named_children():
        pools = isinstance(child, (nn.AvgPool2d, nn.MaxPool2d)) and child.ceil_mode and child.padding == 0
        if pools and isinstance(child.kernel_size, int):
            setattr(module, name, _WholePool(child))
        else:
            make_convertible(child)
