"""Loads a checkpoint's classifier in torch and float32, through transformers.

transformers raises errors of every type over a bad checkpoint. Only the type is shown, since the message names paths.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from model.checkpoint import efficientnet_lite
from model.checkpoint.classifier import Classifier, TransformersLogits
from model.checkpoint.files import CONFIG, read_json
from model.errors import ModelError, UnsupportedModel
from model.recipe import Recipe

# Arguments of every `from_pretrained`: a checkpoint's own code never runs, and transformers never asks for permission.
LOCAL_AND_SAFE = {"local_files_only": True, "trust_remote_code": False}
CHOOSE_ANOTHER = "choose another CLASSIFIER_MODEL"
# Families of AutoModelForImageClassification that this service can't serve, and the reason.
NOT_SERVED = {
    "dinat": "transformers needs natten for it, which is not installed",
    "imagegpt": "it takes a list of colours instead of pixels",
    "pp_lcnet": "its image processor needs torchvision, and transformers gives no logits of it",
    "shieldgemma2": "it is a language model, which takes a text with each image",
    "siglip2": "it takes an image as patches of any number (NaFlex)",
}


def load_classifier(folder: Path, recipe: Recipe, function: str, stand_in: bool) -> Classifier:
    """Load a checkpoint as the whole computation, pixels to probabilities, in float32, ready to run.

    Args:
        folder: the checkpoint; of the stand-in, what `efficientnet_lite.save` has written.
        recipe: how pixels are rescaled and normalised.
        function: `softmax` or `sigmoid`.
        stand_in: whether it is the offline stand-in, which transformers does not load.

    Raises:
        UnsupportedModel: it is not an image classifier, or its weights are incomplete.
    """
    logits = efficientnet_lite.load(folder) if stand_in else TransformersLogits(load_model(folder, load_config(folder)))
    return Classifier(logits, recipe, function).eval()


def load_config(folder: Path) -> Any:
    """Load the configuration of transformers for the checkpoint's model.

    Raises:
        UnsupportedModel: the model is not an image classifier, or its family can't be served.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    family = str(read_json(folder / CONFIG).get("model_type"))
    if family not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        raise UnsupportedModel(
            f"{CONFIG}: AutoModelForImageClassification knows no model_type {family[:40]!r}; "
            "CLASSIFIER_MODEL must name an image classifier."
        )
    if family in NOT_SERVED:
        raise UnsupportedModel(f"{CONFIG}: {family} is not supported: {NOT_SERVED[family]}; {CHOOSE_ANOTHER}.")
    with as_unsupported(f"{CONFIG}: transformers can't make a model of what it says"):
        return AutoConfig.from_pretrained(folder, **LOCAL_AND_SAFE)


def load_model(folder: Path, config: Any) -> nn.Module:
    """Load the model in float32, ready to run.

    Raises:
        UnsupportedModel: weights are missing, of another shape, or not finite.
    """
    from transformers import AutoModelForImageClassification

    with as_unsupported("model.safetensors: AutoModelForImageClassification can't load the weights"):
        model, report = AutoModelForImageClassification.from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            # The first of them is reported below, by name.
            ignore_mismatched_sizes=True,
            dtype="float32",
            **LOCAL_AND_SAFE,
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
            f"model.safetensors: some weights are no finite numbers (NaN or infinity); {CHOOSE_ANOTHER}, or train it "
            "again."
        )
    return model.eval()


def _shape(sizes: Any) -> str:
    return " x ".join(map(str, sizes))


@contextmanager
def as_unsupported(failed: str) -> Iterator[None]:
    """Turn any error of a library into one sentence for the operator.

    Args:
        failed: the beginning of the sentence: what failed.

    Raises:
        ModelError: as it was raised.
        UnsupportedModel: in place of any other error.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise UnsupportedModel(f"{failed} ({type(error).__name__}); {CHOOSE_ANOTHER}.") from None
