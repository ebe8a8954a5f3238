"""Defines EfficientNet-Lite0, the network of the offline stand-in, and saves and loads its weights.

Source of the architecture: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
2019, table 1 (B0). The Lite variant has no squeeze-and-excitation, and ReLU6 in the place of swish. Its convolutions
pad like TensorFlow's 'same': at stride 2, more below and to the right than above and to the left.
"""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

_WEIGHTS = "model.safetensors"
_BATCH_NORM_EPS = 1e-3
_STEM, _HEAD, _LABELS = 32, 1280, 1000
# For each stage: repeats, kernel, stride of its first block, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SamePadded(nn.Conv2d):
    """A convolution without bias that pads like TensorFlow's 'same', for edges that are a multiple of the stride."""

    def __init__(self, channels: int, output: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, output, kernel, stride, groups=groups, bias=False)
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self._around = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, self._around))


class Block(nn.Module):
    """Expands the channels by 1x1, filters each by itself, and projects them by 1x1: MBConv without attention."""

    def __init__(self, channels: int, output: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.is_expanded = expansion != 1
        self.is_residual = stride == 1 and channels == output
        if self.is_expanded:
            self.expand_conv = SamePadded(channels, inner, 1)
            self.bn0 = _batch_norm(inner)
        self.depthwise_conv = SamePadded(inner, inner, kernel, stride, groups=inner)
        self.bn1 = _batch_norm(inner)
        self.project_conv = SamePadded(inner, output, 1)
        self.bn2 = _batch_norm(output)

    def forward(self, x: Tensor) -> Tensor:
        expanded = nn.functional.relu6(self.bn0(self.expand_conv(x))) if self.is_expanded else x
        filtered = nn.functional.relu6(self.bn1(self.depthwise_conv(expanded)))
        projected: Tensor = self.bn2(self.project_conv(filtered))
        return projected + x if self.is_residual else projected


class EfficientNetLite0(nn.Module):
    """Normalised RGB planes, float32, batch x 3 x 224 x 224 → logits, batch x 1000."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SamePadded(3, _STEM, 3, stride=2)
        self.bn0 = _batch_norm(_STEM)
        self.blocks = nn.Sequential(*_blocks())
        self.conv_head = SamePadded(_STAGES[-1][-1], _HEAD, 1)
        self.bn1 = _batch_norm(_HEAD)
        self.fc = nn.Linear(_HEAD, _LABELS)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu6(self.bn0(self.conv_stem(x)))
        x = nn.functional.relu6(self.bn1(self.conv_head(self.blocks(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def save(network: nn.Module, folder: Path) -> None:
    """Create the folder and save the weights in it."""
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / _WEIGHTS)


def load(folder: Path) -> EfficientNetLite0:
    """Load the network with the weights that `save` has written, ready to run."""
    return with_weights(load_file(folder / _WEIGHTS))


def with_weights(weights: dict[str, Tensor]) -> EfficientNetLite0:
    """Make the network with these weights, ready to run.

    Raises:
        RuntimeError: a weight is missing, unknown, or of another shape.
    """
    network = EfficientNetLite0()
    network.load_state_dict(weights)
    return network.eval()


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BATCH_NORM_EPS)


def _blocks() -> list[Block]:
    made, channels = [], _STEM
    for repeats, kernel, stride, expansion, output in _STAGES:
        for number in range(repeats):
            made.append(Block(channels, output, kernel, stride if number == 0 else 1, expansion))
            channels = output
    return made
