"""Prepares a model unless it is prepared already: fetches, converts, compares with the reference, and stores it.

torch and transformers are imported inside functions: they take seconds, and most starts need no preparation.
"""

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
from model import environment, store
from model.checkpoint.files import FILES, check, processor_file
from model.errors import HubUnreachable, ModelError, SourceUnavailable
from model.prepare.hub import say, warn_of_stand_in
from model.prepare.source import Checkpoint, fetch_checkpoint
from model.prepared import STAND_IN_NAME, STAND_IN_ORIGIN, find_prepared, find_stand_in, is_ready_to_serve
from model.recipe import Recipe
from model.store import CHECKPOINT, GRAPH, Manifest, PreparedModel
from model.tune import tuning

_ADVICE = (
    "check that the disk has room where BENTOML_HOME and TMPDIR are, and that CLASSIFIER_MODEL names a whole "
    "checkpoint, or choose another one."
)


def ensure_prepared(settings: Settings, anew: bool = False) -> PreparedModel:
    """Return the prepared model that the settings name, after preparing it where there is none yet.

    Args:
        settings: name the model.
        anew: prepare it again although there is one.

    Raises:
        ModelError: the model is not available or can't be served; the message says what to do.
    """
    if not anew and is_ready_to_serve(settings):
        found = find_prepared(settings)
        assert found is not None
        return found
    if settings.offline_model == "only":
        return _prepare_stand_in()
    try:
        checkpoint = fetch_checkpoint(settings)
    except HubUnreachable as error:
        if settings.offline_model == "deny":
            raise SourceUnavailable(
                f"{error} Connect to it, set CLASSIFIER_MODEL to a local checkpoint directory, "
                "or set CLASSIFIER_OFFLINE_MODEL=allow to serve the offline stand-in."
            ) from None
        kept = find_prepared(settings)
        if kept is not None and not kept.manifest.stand_in:
            raise SourceUnavailable(f"{error} The prepared model {kept.tag} is kept; try again later.") from None
        warn_of_stand_in(error, settings)
        return (None if anew else find_stand_in()) or _prepare_stand_in()
    return _prepare_checkpoint(checkpoint)


def _prepare_checkpoint(checkpoint: Checkpoint) -> PreparedModel:
    say(f"Preparing {checkpoint.name} ({checkpoint.revision[:12]}): loading it in transformers ...")
    check(checkpoint.folder)
    from model.checkpoint.classifier import Classifier, TransformersLogits
    from model.prepare import comparison, reference
    from model.prepare.conversion import make_convertible

    loaded = reference.load(checkpoint.folder)
    recipe = comparison.compared_recipe(loaded, processor_file(checkpoint.folder))
    expected = comparison.expected_answers(loaded, recipe)
    make_convertible(loaded.model)
    classifier = Classifier(TransformersLogits(loaded.model), recipe, loaded.function).eval()
    manifest = Manifest(
        checkpoint.origin,
        checkpoint.name,
        checkpoint.revision,
        False,
        loaded.labels,
        recipe.to_dict(),
        function=loaded.function,
    )
    return _convert_and_store(
        classifier, manifest, recipe, expected, lambda folder: _copy_checkpoint(checkpoint.folder, folder)
    )


def _prepare_stand_in() -> PreparedModel:
    say(f"Preparing the offline stand-in {STAND_IN_NAME} ...")
    import torch

    from model.checkpoint import efficientnet_lite
    from model.checkpoint.classifier import Classifier
    from model.images.resize import fit
    from model.prepare import comparison, standin

    network, labels = standin.load()
    manifest = Manifest(STAND_IN_ORIGIN, STAND_IN_NAME, standin.REVISION, True, labels, standin.RECIPE.to_dict())
    classifier = Classifier(network, standin.RECIPE).eval()
    batch = np.stack([fit(picture, standin.RECIPE) for picture in comparison.pictures()])
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(batch)).numpy()
    return _convert_and_store(
        classifier, manifest, standin.RECIPE, expected, lambda folder: efficientnet_lite.save(network, folder)
    )


def _convert_and_store(
    classifier: Any, manifest: Manifest, recipe: Recipe, expected: NDArray[np.float32], save_checkpoint: Any
) -> PreparedModel:
    from model.checkpoint.torch_loading import as_unsupported
    from model.prepare.comparison import largest_difference
    from model.prepare.conversion import convert, save

    with tempfile.TemporaryDirectory(prefix="classifier-") as name:
        folder = Path(name)
        say("Converting it to OpenVINO ...")
        with as_unsupported("OpenVINO can't convert the model"):
            graph = convert(classifier, recipe)
        # Outside `as_unsupported`: if the graph can't be saved, the model is not at fault.
        save(graph, folder / GRAPH)
        say("Comparing it with the reference ...")
        difference = largest_difference(folder / GRAPH, recipe, expected)
        manifest.fidelity["f32_largest_difference"] = difference
        save_checkpoint(folder / CHECKPOINT)
        prepared = store.save(manifest, folder)
    say(f"Prepared {prepared.tag}: at most {difference:.1e} from torch in float32.")
    return prepared


def _copy_checkpoint(source: Path, folder: Path) -> None:
    folder.mkdir()
    for pattern in FILES:
        for path in source.glob(pattern):
            shutil.copyfile(path, folder / path.name)


def _prepare_in_own_environment(arguments: list[str]) -> int:
    status = environment.run_in_prepare_environment("model.prepare", arguments, "prepare", "torch")
    if status == 0:
        say(
            f"torch and transformers lie in {environment.FOLDER.name}. No server needs them: 'make clean-prepare' "
            "deletes that folder."
        )
    return status


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns 0 where a prepared model exists now, else 1, after one line with the reason."""
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m model.prepare", description=description)
    parser.add_argument("--anew", action="store_true", help="prepare the model again although there is one")
    arguments = sys.argv[1:] if arguments is None else arguments
    anew = parser.parse_args(arguments).anew
    started = time.monotonic()
    # Warnings of the libraries about a checkpoint's code are nothing that an operator can fix.
    warnings.filterwarnings("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        settings = load_settings()
        if (anew or not is_ready_to_serve(settings)) and not environment.is_complete("torch", "transformers"):
            return _prepare_in_own_environment(arguments)
        prepared = ensure_prepared(settings, anew)
    except (ModelError, SettingsError) as error:
        say(f"ERROR: {error}")
        return 1
    except Exception as error:
        # Other errors are shown without a traceback, since it would name paths.
        say(f"ERROR: Preparing the model fails ({type(error).__name__}); {_ADVICE}")
        return 1
    tuning.ensure_measured(prepared, settings, say)
    say(f"Ready: {prepared.tag} ({time.monotonic() - started:.1f} s).")
    return 0
