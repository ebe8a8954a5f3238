"""Saves prepared models in the BentoML model store, and finds them there.

A prepared model has all that serving needs: the OpenVINO graph, the checkpoint for the torch engine, and a manifest.
"""

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import NotFound

from model.errors import ModelError
from model.recipe import Recipe

# Increase it when the content of a prepared model changes: older models are then prepared again.
FORMAT = 1

GRAPH = "openvino.xml"
GRAPH_INT8 = "openvino-int8.xml"
CHECKPOINT = "checkpoint"
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """Describes a prepared model.

    Attributes:
        origin: identifies the source that the model was prepared from (see `checkpoint/location.py`).
        name: the model's name, as answers show it.
        revision: the commit on the hub, or a digest of the checkpoint's files.
        stand_in: whether it is the offline stand-in, served in place of a model that was not available.
        labels: the label of each class, in order.
        recipe: how an image becomes the model's input (`Recipe.to_dict`).
        fidelity: how much its answers differed from the reference's when it was prepared.
        function: turns logits into probabilities: `softmax` or `sigmoid`.
    """

    origin: str
    name: str
    revision: str
    stand_in: bool
    labels: list[str]
    recipe: dict[str, Any]
    fidelity: dict[str, Any] = field(default_factory=dict)
    function: str = "softmax"


@dataclass(frozen=True)
class PreparedModel:
    """A prepared model: its tag in the store, its folder, and its manifest."""

    tag: str
    folder: Path
    manifest: Manifest

    @property
    def recipe(self) -> Recipe:
        """Return how an image becomes the model's input."""
        return Recipe.from_dict(self.manifest.recipe)


def find(name: str, origin: str) -> PreparedModel | None:
    """Find the newest prepared model of that name and origin; None where there is none."""
    try:
        stored = bentoml.models.list(_slug(name))
    except NotFound:
        return None
    wanted = [model for model in stored if _has_origin(model, origin)]
    return _open(max(wanted, key=lambda model: model.creation_time)) if wanted else None


def get(tag: str) -> PreparedModel:
    """Return the prepared model with that tag.

    Raises:
        ModelError: there is none.
    """
    try:
        return _open(bentoml.models.get(tag))
    except NotFound:
        again = "run 'make model' (for a Bento: 'make bento') and start again."
        raise ModelError(f"The prepared model {tag} is gone; {again}") from None


def open_folder(tag: str, folder: Path) -> PreparedModel:
    """Return the prepared model in that folder."""
    manifest = Manifest(**json.loads((folder / _MANIFEST).read_text("utf-8")))
    return PreparedModel(tag, folder, manifest)


def save(manifest: Manifest, folder: Path) -> PreparedModel:
    """Copy the folder and its manifest to the store, as a new model; the store has the whole model or nothing."""
    tag = f"{_slug(manifest.name)}:{manifest.revision[:12]}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}"
    (folder / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), "utf-8")
    with bentoml.models.create(tag, metadata={"origin": manifest.origin, "format": FORMAT}) as model:
        shutil.copytree(folder, model.path, dirs_exist_ok=True)
    return get(str(model.tag))


def _has_origin(model: Any, origin: str) -> bool:
    metadata = model.info.metadata
    return metadata.get("origin") == origin and metadata.get("format") == FORMAT


def _open(model: Any) -> PreparedModel:
    return open_folder(str(model.tag), Path(model.path))


def _slug(name: str) -> str:
    """Return the name with only the characters of BentoML's tags: lower case, digits, `-`, `_` and `.`."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower().replace("/", "--")).strip("-_.") or "model"
