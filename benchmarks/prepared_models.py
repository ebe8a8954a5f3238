"""Makes and prepares the models that benchmarks measure without a server."""

import os
from collections.abc import Callable
from pathlib import Path

from configs.settings import Settings
from model.store import PreparedModel, open_folder
from testing.checkpoints import save_resnet18, save_vit
from testing.servers import run_prepare

# How the checkpoint of each is made; None: the stand-in has its own.
MODELS: dict[str, Callable[[Path], None] | None] = {
    "resnet-18": lambda folder: save_resnet18(folder, trained_logit=10.0),
    "stand-in": None,
    "vit-b-16": save_vit,
}


def prepare(name: str, folder: Path, tune: str = "off") -> tuple[PreparedModel, Settings]:
    """Prepare a model of `MODELS` in an empty folder.

    Args:
        name: of the model.
        folder: where the checkpoint and the model store are written.
        tune: the setting CLASSIFIER_TUNE while it is prepared.

    Returns:
        the model, and the settings to load it with.

    Raises:
        SystemExit: preparing failed; its output says why.
    """
    make, models = MODELS[name], folder / "home" / "models"
    variables = {"CLASSIFIER_OFFLINE_MODEL": "only"}
    if make is not None:
        make(folder / name)
        variables = {"CLASSIFIER_MODEL": str(folder / name), "CLASSIFIER_OFFLINE_MODEL": "deny"}
    done = run_prepare(models, CLASSIFIER_TUNE=tune, **variables)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    print("\n".join(line for line in done.stderr.splitlines() if "Chosen" in line), flush=True)
    [graph] = models.glob("*/*/openvino.xml")
    version = graph.parent
    os.environ["BENTOML_HOME"] = str(models.parent)
    return open_folder(f"{version.parent.name}:{version.name}", version), Settings()
