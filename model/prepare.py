"""Prepare a model: fetch, convert, compare with the reference, store. `python -m model.prepare` does it if need be."""

import argparse
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings, SettingsError, load_settings
from model import source, store, tune
from model.errors import ModelError, SourceUnavailable, UnsupportedModel
from model.source import Checkpoint, HubUnreachable
from model.store import CHECKPOINT, GRAPH, Manifest, PreparedModel

# How far OpenVINO's float32 may be from torch's, in probability (the contract's bar).
MOST_DIFFERENCE = 1e-4
# How far a pixel of the recipe may be from the processor's, in normalised units: a rounding, never a wrong resize.
MOST_PIXEL_DIFFERENCE = 1e-3
SIZES = ((500, 375), (375, 500), (224, 224), (97, 301), (640, 640))


def ensure(settings: Settings, anew: bool = False) -> PreparedModel:
    """The prepared model that the settings ask for, prepared where there is none yet.

    Args:
        settings: which model.
        anew: prepare it again although there is one.

    Raises:
        ModelError: it can't be had or can't be served; the message says what to do.
    """
    if not anew and source.is_settled(settings):
        found = source.prepared(settings)
        assert found is not None
        return found
    if settings.offline_model == "only":
        return _prepare_stand_in()
    try:
        checkpoint = source.checkpoint(settings)
    except HubUnreachable as error:
        if settings.offline_model == "deny":
            raise SourceUnavailable(
                f"{error} Connect to it, set CLASSIFIER_MODEL to a local checkpoint directory, "
                "or set CLASSIFIER_OFFLINE_MODEL=allow to serve the offline stand-in."
            ) from None
        _say(f"WARNING: {error} Serving the offline stand-in {source.STAND_IN_NAME} instead of {settings.model}.")
        return (None if anew else source.stand_in()) or _prepare_stand_in()
    return _prepare_checkpoint(checkpoint)


def _prepare_checkpoint(checkpoint: Checkpoint) -> PreparedModel:
    _say(f"Preparing {checkpoint.name} ({checkpoint.revision[:12]}): loading it in transformers ...")
    from model import recipe, reference

    processor = reference.load_processor(checkpoint.folder)
    recipe_ = recipe.from_processor(processor)
    _compare_pixels(processor, recipe_)
    classifier = reference.load_classifier(checkpoint.folder, recipe_, stand_in=False)
    labels = reference.load_labels(checkpoint.folder)
    manifest = Manifest(checkpoint.origin, checkpoint.name, checkpoint.revision, False, labels, recipe_.to_dict())
    return _convert_and_store(classifier, manifest, lambda folder: _copy_checkpoint(checkpoint.folder, folder))


def _prepare_stand_in() -> PreparedModel:
    _say(f"Preparing the offline stand-in {source.STAND_IN_NAME} ...")
    from model import reference, standin
    from model.graph import Classifier

    network, labels = standin.load()
    manifest = Manifest(
        source.STAND_IN_ORIGIN, source.STAND_IN_NAME, standin.REVISION, True, labels, standin.RECIPE.to_dict()
    )
    classifier = Classifier(network, standin.RECIPE).eval()
    return _convert_and_store(classifier, manifest, lambda folder: reference.save_stand_in(network, folder))


def _convert_and_store(classifier: Any, manifest: Manifest, keep_checkpoint: Any) -> PreparedModel:
    with tempfile.TemporaryDirectory(prefix="classifier-") as name:
        folder = Path(name)
        _say("Converting it to OpenVINO ...")
        _convert(classifier, manifest, folder / GRAPH)
        _say("Comparing it with the reference ...")
        difference = _compare_answers(classifier, folder / GRAPH, manifest)
        manifest.fidelity["f32_largest_difference"] = difference
        keep_checkpoint(folder / CHECKPOINT)
        prepared = store.save(manifest, folder)
    _say(f"Prepared {prepared.tag}: at most {difference:.1e} from torch in float32.")
    return prepared


def _convert(classifier: Any, manifest: Manifest, path: Path) -> None:
    # OpenVINO's converter would report its use to its maker; without this package it has a stub that doesn't.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino
    import torch

    height, width = manifest.recipe["height"], manifest.recipe["width"]
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    graph = openvino.convert_model(
        classifier, example_input=example, input=[([-1, height, width, 3], openvino.Type.u8)]
    )
    openvino.save_model(graph, path, compress_to_fp16=False)


def _compare_pixels(processor: Any, recipe: Any) -> None:
    """Raise where the recipe is not what the processor does."""
    from model.resize import fit

    mean, std = np.array(recipe.mean, np.float32), np.array(recipe.std, np.float32)
    for number, size in enumerate(SIZES):
        picture = _picture(*size, seed=number)
        theirs = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])
        ours = ((fit(picture, recipe) * np.float32(recipe.scale) - mean) / std).transpose(2, 0, 1)
        if theirs.shape != ours.shape or np.abs(theirs - ours).max() > MOST_PIXEL_DIFFERENCE:
            raise UnsupportedModel(
                f"The image processor {type(processor).__name__} can't be reproduced exactly; "
                "choose another CLASSIFIER_MODEL."
            )


def _compare_answers(classifier: Any, graph: Path, manifest: Manifest) -> float:
    """The largest difference between the two engines' probabilities; raise where it is too large."""
    import torch

    from model.openvino_engine import OpenVinoEngine
    from model.recipe import Recipe
    from model.resize import fit

    recipe = Recipe.from_dict(manifest.recipe)
    batch = np.stack([fit(_picture(*size, seed=number), recipe) for number, size in enumerate(SIZES)])
    with torch.inference_mode():
        theirs = classifier(torch.from_numpy(batch)).numpy()
    ours = OpenVinoEngine(graph, "f32").predict(batch)
    difference = float(np.abs(theirs - ours).max())
    if difference > MOST_DIFFERENCE or len(manifest.labels) != ours.shape[1]:
        raise UnsupportedModel(f"OpenVINO's answers are {difference:.1e} off the reference; choose another model.")
    return difference


def _picture(width: int, height: int, seed: int) -> Any:
    """A picture with edges, gradients and noise, the same for the same seed."""
    from PIL import Image

    random = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(random.uniform(2, 40) * down + random.uniform(2, 40) * across) for _ in range(3)]
    values: NDArray[np.float64] = np.stack(waves, -1) * 100 + 128 + random.normal(0, 12, (height, width, 3))
    values[height // 3 : height // 2, width // 4 : width // 2] = random.uniform(0, 255, 3)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _copy_checkpoint(come_from: Path, folder: Path) -> None:
    folder.mkdir()
    for pattern in source.CHECKPOINT_FILES:
        for path in come_from.glob(pattern):
            shutil.copyfile(path, folder / path.name)


def _say(line: str) -> None:
    print(f"[model] {line}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0: there is a prepared model now, 1: there can't be, with one line that says why."""
    parser = argparse.ArgumentParser(prog="python -m model.prepare", description=__doc__)
    parser.add_argument("--anew", action="store_true", help="prepare the model again although there is one")
    anew = parser.parse_args(arguments).anew
    began = time.monotonic()
    # What the libraries think of a checkpoint's code is nothing that an operator could mend.
    warnings.filterwarnings("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        settings = load_settings()
        prepared = ensure(settings, anew)
    except (ModelError, SettingsError) as error:
        _say(f"ERROR: {error}")
        return 1
    tune.ensure(prepared, settings, _say)
    _say(f"Ready: {prepared.tag} ({time.monotonic() - began:.1f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
