"""Prepared models in the BentoML model store: what a start finds there, and what it serves.

A prepared model is all that serving needs: the OpenVINO graph, the checkpoint for the torch engine, and a manifest.
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

# Raised whenever what lies in a prepared model changes: older ones are then prepared anew.
FORMAT = 1

GRAPH = "openvino.xml"
GRAPH_INT8 = "openvino-int8.xml"
CHECKPOINT = "checkpoint"
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a prepared model is.

    Attributes:
        origin: what was asked for and led to this model (see `checkpoint/location.py`).
        name: the model's name, as answers show it.
        revision: the commit on the hub, or a digest of the checkpoint's files.
        stand_in: whether it stands in for a model that could not be had.
        labels: the label of each class, in order.
        recipe: how an image becomes its input.
        fidelity: how far its answers were from the reference's when it was prepared.
        function: what makes probabilities of logits: `softmax` or `sigmoid`.
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
    """A model ready to be served: where it lies, and what it is."""

    tag: str
    folder: Path
    manifest: Manifest

    @property
    def recipe(self) -> Recipe:
        """How an image becomes the model's input."""
        return Recipe.from_dict(self.manifest.recipe)


def find(name: str, origin: str) -> PreparedModel | None:
    """The newest prepared model of that origin; None where there is none."""
    try:
        stored = bentoml.models.list(_slug(name))
    except NotFound:
        return None
    wanted = [model for model in stored if _is(model, origin)]
    return _opened(max(wanted, key=lambda model: model.creation_time)) if wanted else None


def get(tag: str) -> PreparedModel:
    """The prepared model of that tag.

    Raises:
        ModelError: there is none.
    """
    try:
        return _opened(bentoml.models.get(tag))
    except NotFound:
        raise ModelError(f"The prepared model {tag} is gone; run 'make model' and start again.") from None


def open_folder(tag: str, folder: Path) -> PreparedModel:
    """The prepared model that lies in the folder."""
    manifest = Manifest(**json.loads((folder / _MANIFEST).read_text("utf-8")))
    return PreparedModel(tag, folder, manifest)


def save(manifest: Manifest, folder: Path) -> PreparedModel:
    """Move what lies in `folder` into the store, with its manifest; it is there as a whole, or not at all."""
    tag = f"{_slug(manifest.name)}:{manifest.revision[:12]}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}"
    (folder / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), "utf-8")
    with bentoml.models.create(tag, metadata={"origin": manifest.origin, "format": FORMAT}) as model:
        shutil.copytree(folder, model.path, dirs_exist_ok=True)
    return get(str(model.tag))


def _is(model: Any, origin: str) -> bool:
    metadata = model.info.metadata
    return metadata.get("origin") == origin and metadata.get("format") == FORMAT


def _opened(model: Any) -> PreparedModel:
    return open_folder(str(model.tag), Path(model.path))


def _slug(name: str) -> str:
    """The name as BentoML's tags allow it: lower case, digits, `-`, `_` and `.`."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower().replace("/", "--")).strip("-_.") or "model"
