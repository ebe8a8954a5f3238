"""The reference: the checkpoint as transformers itself loads and runs it, in torch and float32."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from model import standin
from model.errors import UnsupportedModel
from model.graph import Classifier, TransformersLogits
from model.recipe import Recipe

_STAND_IN_WEIGHTS = "model.safetensors"


def load_processor(folder: Path) -> Any:
    """The checkpoint's own image processor.

    Raises:
        UnsupportedModel: transformers can't load one.
    """
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError, ImportError) as error:
        raise UnsupportedModel(f"The checkpoint's image processor can't be loaded ({type(error).__name__}).") from None


def load_labels(folder: Path) -> list[str]:
    """The checkpoint's `id2label`, in order."""
    from transformers import AutoConfig

    id2label = AutoConfig.from_pretrained(folder, local_files_only=True).id2label
    return [id2label[number] for number in range(len(id2label))]


def load_classifier(folder: Path, recipe: Recipe, stand_in: bool) -> Classifier:
    """The checkpoint from bytes of pixels to probabilities, in float32, ready to run.

    Raises:
        UnsupportedModel: it is no image classifier, or its weights are incomplete.
    """
    return Classifier(_stand_in_logits(folder) if stand_in else _logits(folder), recipe).eval()


def save_stand_in(network: nn.Module, folder: Path) -> None:
    """Keep the stand-in's weights as `load_classifier` reads them."""
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / _STAND_IN_WEIGHTS)


def _stand_in_logits(folder: Path) -> nn.Module:
    network = standin.SqueezeNet().eval()
    network.load_state_dict(load_file(folder / _STAND_IN_WEIGHTS))
    return network


def _logits(folder: Path) -> nn.Module:
    from transformers import AutoModelForImageClassification

    try:
        classifier, report = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype="float32"
        )
    except (ValueError, OSError) as error:
        raise UnsupportedModel(
            f"AutoModelForImageClassification can't load the checkpoint ({type(error).__name__}); "
            "CLASSIFIER_MODEL must name an image classifier."
        ) from None
    if report["missing_keys"]:
        raise UnsupportedModel(
            "The checkpoint lacks weights of its classifier; CLASSIFIER_MODEL must name one that is fine-tuned."
        )
    return TransformersLogits(classifier.eval())
