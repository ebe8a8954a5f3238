"""Saves prepared models in the BentoML model store, and finds them there.

A prepared model has all that serving needs: the OpenVINO graph, the checkpoint for the torch engine, and a manifest.
"""

import hashlib
import json
import re
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import NotFound

from model.errors import ModelError
from model.recipe import Recipe
from runtime import model_store

# Increase it when the content of a prepared model changes: older models are then prepared again.
FORMAT = 1

GRAPH = "openvino.xml"
GRAPH_INT8 = "openvino-int8.xml"
CHECKPOINT = "checkpoint"
_MANIFEST = "manifest.json"
# BentoML's own file in the folder of a model.
_DESCRIPTION = "model.yaml"
# The longest name in a tag that BentoML allows.
_LONGEST_SLUG = 63
_AGAIN = "run 'make model' (for a Bento: 'make bento') and start again."


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
    """Find the newest prepared model of that name and origin; None where there is none.

    A damaged one is passed over, so that the model is prepared again.
    """
    found = []
    for tag in model_store.tags(_slug(name)):
        with suppress(ModelError):
            stored = _stored(tag)
            # Models of several names may have the same slug, and the same content.
            if _has_origin(stored, origin) and (prepared := _open(stored)).manifest.name == name:
                found.append((stored.creation_time, prepared))
    return max(found, key=lambda one: one[0])[1] if found else None


def get(tag: str) -> PreparedModel:
    """Return the prepared model with that tag.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    return _open(_stored(tag))


def open_folder(tag: str, folder: Path) -> PreparedModel:
    """Return the prepared model in that folder."""
    manifest = Manifest(**json.loads((folder / _MANIFEST).read_text("utf-8")))
    return PreparedModel(tag, folder, manifest)


def save(manifest: Manifest, folder: Path) -> PreparedModel:
    """Copy the folder and its manifest to the store, as a new model; the store has the whole model or nothing."""
    tag = f"{_slug(manifest.name)}:{manifest.revision[:12]}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}"
    # The folder may be a copy of a stored model: its descriptions are written anew.
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in (_MANIFEST, _DESCRIPTION)]
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    (folder / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), "utf-8")
    with model_store.adding(tag, {"origin": manifest.origin, "format": FORMAT, "sizes": sizes}) as place:
        shutil.copytree(folder, place, dirs_exist_ok=True)
    return get(tag)


def _stored(tag: str) -> Any:
    try:
        return bentoml.models.get(tag)
    except NotFound:
        raise ModelError(f"The prepared model {tag} is gone; {_AGAIN}") from None
    except Exception:
        # If the description is damaged, BentoML and its libraries raise errors of many types.
        raise _damaged(tag) from None


def _has_origin(model: Any, origin: str) -> bool:
    metadata = model.info.metadata
    return metadata.get("origin") == origin and metadata.get("format") == FORMAT


def _open(model: Any) -> PreparedModel:
    tag, folder = str(model.tag), Path(model.path)
    # An older version stored no sizes.
    sizes = model.info.metadata.get("sizes", {})
    try:
        is_whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        prepared = open_folder(tag, folder)
    except (OSError, ValueError, TypeError):
        raise _damaged(tag) from None
    if not is_whole:
        raise _damaged(tag)
    return prepared


def _damaged(tag: str) -> ModelError:
    return ModelError(f"The prepared model {tag} is damaged; {_AGAIN}")


def _slug(name: str) -> str:
    """Return the name with only the characters of BentoML's tags: lower case, digits, `-`, `_` and `.`."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower().replace("/", "--")).strip("-_.") or "model"
    if len(slug) <= _LONGEST_SLUG:
        return slug
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{slug[: _LONGEST_SLUG - len(digest) - 1]}-{digest}"
