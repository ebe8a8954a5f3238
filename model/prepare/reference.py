"""The reference: the checkpoint as transformers itself loads and runs it, in torch and float32.

What transformers raises over a checkpoint is of every kind; its type is told, never its message, which names paths.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from model.errors import ModelError, UnsupportedModel
from model.prepare import standin
from model.prepare.checkpoint import CONFIG, processor_file, read_json
from model.prepare.graph import Classifier, TransformersLogits
from model.recipe import Recipe

_STAND_IN_WEIGHTS = "model.safetensors"
# A checkpoint's own code never runs, and nobody is asked whether it may.
_OF_FOLDER = {"local_files_only": True, "trust_remote_code": False}
_OTHER = "choose another CLASSIFIER_MODEL"
# Families of AutoModelForImageClassification that can't be served, and why.
NOT_SERVED = {
    "dinat": "transformers needs natten for it, which is not installed",
    "imagegpt": "it takes a list of colours instead of pixels",
    "pp_lcnet": "its image processor needs torchvision, and transformers gives no logits of it",
    "shieldgemma2": "it is a language model, which takes a text with each image",
    "siglip2": "it takes an image as patches of any number (NaFlex)",
}


@dataclass(frozen=True)
class Reference:
    """A checkpoint as transformers loads it.

    Attributes:
        processor: its image processor, on Pillow.
        model: its classifier, in float32, ready to run.
        labels: the label of each class, in order.
        function: what makes probabilities of logits, as in transformers' own pipeline: `softmax` or `sigmoid`.
    """

    processor: Any
    model: nn.Module
    labels: list[str]
    function: str

    def pixels(self, pictures: Sequence[Image.Image]) -> list[NDArray[np.float32]]:
        """Return what the processor makes of each RGB picture, one by one: planes x height x width, float32."""
        return [np.asarray(self.processor(picture, return_tensors="np")["pixel_values"][0]) for picture in pictures]

    def probabilities(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return what transformers answers to RGB pictures, one by one: float32, pictures x labels."""
        rows = []
        with torch.inference_mode():
            for planes in self.pixels(pictures):
                [logits] = self.model(pixel_values=torch.from_numpy(planes)[None].float()).logits
                rows.append(logits.sigmoid() if self.function == "sigmoid" else logits.softmax(-1))
        return torch.stack(rows).numpy()


def load(folder: Path) -> Reference:
    """Load a checkpoint whose files have been checked.

    Raises:
        UnsupportedModel: transformers can't load it, or it is no image classifier.
    """
    config = _config(folder)
    function = _function(config)
    labels = _labels(config)
    return Reference(load_processor(folder), _model(folder, config), labels, function)


def load_processor(folder: Path) -> Any:
    """Load the checkpoint's own image processor, transformers' version on Pillow.

    Raises:
        UnsupportedModel: transformers can't load one.
    """
    from transformers import AutoImageProcessor

    # On Pillow also where torchvision is installed, whose resizing is another.
    with told(f"{processor_file(folder)}: transformers can't make an image processor of what it says"):
        return AutoImageProcessor.from_pretrained(folder, backend="pil", **_OF_FOLDER)


def load_classifier(folder: Path, recipe: Recipe, function: str, stand_in: bool) -> Classifier:
    """Load a checkpoint from bytes of pixels to probabilities, in float32, ready to run.

    Raises:
        UnsupportedModel: it is no image classifier, or its weights are incomplete.
    """
    logits = _stand_in_logits(folder) if stand_in else TransformersLogits(_model(folder, _config(folder)))
    return Classifier(logits, recipe, function).eval()


def save_stand_in(network: nn.Module, folder: Path) -> None:
    """Keep the stand-in's weights as `load_classifier` reads them."""
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / _STAND_IN_WEIGHTS)


@contextmanager
def told(failed: str) -> Iterator[None]:
    """Turn whatever a library raises over a checkpoint into one sentence.

    Args:
        failed: what failed, as the beginning of the sentence.

    Raises:
        UnsupportedModel: instead of any other error.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise UnsupportedModel(f"{failed} ({type(error).__name__}); {_OTHER}.") from None


def _stand_in_logits(folder: Path) -> nn.Module:
    network = standin.SqueezeNet().eval()
    network.load_state_dict(load_file(folder / _STAND_IN_WEIGHTS))
    return network


def _config(folder: Path) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    family = str(read_json(folder / CONFIG).get("model_type"))
    if family not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        raise UnsupportedModel(
            f"{CONFIG}: AutoModelForImageClassification knows no model_type {family[:40]!r}; "
            "CLASSIFIER_MODEL must name an image classifier."
        )
    if family in NOT_SERVED:
        raise UnsupportedModel(f"{CONFIG}: {family} is not supported: {NOT_SERVED[family]}; {_OTHER}.")
    with told(f"{CONFIG}: transformers can't make a model of what it says"):
        return AutoConfig.from_pretrained(folder, **_OF_FOLDER)


def _labels(config: Any) -> list[str]:
    if config.id2label is None:
        raise UnsupportedModel(
            f'{CONFIG}: id2label is missing; write it as {{"0": "first label", "1": "second label"}}.'
        )
    with told(f"{CONFIG}: id2label can't be read"):
        # Numbers are texts too, once they are labels.
        return [str(config.id2label[number]) for number in range(len(config.id2label))]


def _function(config: Any) -> str:
    """What transformers' own pipeline applies to this checkpoint's logits."""
    if config.problem_type == "regression":
        raise UnsupportedModel(
            f"{CONFIG}: its problem_type is regression, whose answers are no probabilities; {_OTHER}."
        )
    return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"


def _model(folder: Path, config: Any) -> nn.Module:
    from transformers import AutoModelForImageClassification

    with told("model.safetensors: AutoModelForImageClassification can't load the weights"):
        model, report = AutoModelForImageClassification.from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            # They are told below, by name.
            ignore_mismatched_sizes=True,
            dtype="float32",
            **_OF_FOLDER,
        )
    for name, stored, wanted in sorted(report["mismatched_keys"])[:1]:
        raise UnsupportedModel(
            f"{CONFIG}: it does not fit the weights: {name} is {_shape(stored)} in model.safetensors, and "
            f"{_shape(wanted)} by {CONFIG}, whose id2label has {config.num_labels} labels; make them agree."
        )
    if report["missing_keys"]:
        raise UnsupportedModel(
            "model.safetensors: weights of the classifier are missing; CLASSIFIER_MODEL must name one that is "
            "fine-tuned."
        )
    if not all(bool(values.isfinite().all()) for values in model.state_dict().values() if values.is_floating_point()):
        raise UnsupportedModel(
            f"model.safetensors: some weights are no finite numbers (NaN or infinity); {_OTHER}, or train it again."
        )
    return model.eval()


def _shape(sizes: Any) -> str:
    return " x ".join(map(str, sizes))
