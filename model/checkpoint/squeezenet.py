"""Defines SqueezeNet 1.1, the network of the offline stand-in, and saves and loads its weights.

Source of the architecture: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016, and
its version 1.1. Its convolutions pad like TensorFlow's 'same': at stride 2, only below and to the right.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

_WEIGHTS = "model.safetensors"
# For each fire module: the number of input channels, and the number of channels after its squeeze layer.
_FIRES = {
    "fire2": (64, 16),
    "fire3": (128, 16),
    "fire4": (128, 32),
    "fire5": (256, 32),
    "fire6": (256, 48),
    "fire7": (384, 48),
    "fire8": (384, 64),
    "fire9": (512, 64),
}
_POOLED_BEFORE = ("fire2", "fire4", "fire6")


class Fire(nn.Module):
    """Reduces to `squeezed` channels by 1x1, then expands to `4 x squeezed` by 1x1 and by 3x3, concatenated."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.expand3x3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze1x1(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], dim=1)


class SqueezeNet(nn.Module):
    """Normalised RGB planes, float32, batch x 3 x 224 x 224 → logits, batch x 1000."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        for name, (channels, squeezed) in _FIRES.items():
            setattr(self, name, Fire(channels, squeezed))
        self.conv10 = nn.Conv2d(512, 1000, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(nn.functional.pad(x.flip(1), (0, 1, 0, 1))).relu()
        for name in _FIRES:
            if name in _POOLED_BEFORE:
                x = nn.functional.max_pool2d(x, 3, stride=2)
            x = getattr(self, name)(x)
        return self.conv10(x).mean((2, 3))


def save(network: nn.Module, folder: Path) -> None:
    """Create the folder and save the weights in it."""
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / _WEIGHTS)


def load(folder: Path) -> SqueezeNet:
    """Load the network with the weights that `save` has written, ready to run."""
    network = SqueezeNet().eval()
    network.load_state_dict(load_file(folder / _WEIGHTS))
    return network
