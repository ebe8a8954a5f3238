"""Adds models to BentoML's model store, and lists them.

BentoML copies a model to its place file by file: a process that is killed meanwhile leaves half a model there, and with
that BentoML refuses to list the others.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore


def tags(name: str) -> list[str]:
    """Return the tags of all models of that name, also of those that BentoML can't read."""
    return [f"{name}:{path.name}" for path in (_folder() / name).glob("*/")]


@contextmanager
def adding(tag: str, metadata: dict[str, Any]) -> Iterator[Path]:
    """Add a model. If this process is killed meanwhile, the store has all of the model or nothing.

    If another process adds a model with the same tag meanwhile, the first of the two stays.

    Yields:
        an empty folder for the model's files.
    """
    store = _folder()
    store.mkdir(parents=True, exist_ok=True)
    # Beside the store: on the same file system, so that a move is one step, and not in a list of models.
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=store.resolve().parent) as name:
        with bentoml.models.create(tag, metadata=metadata, _model_store=ModelStore(name)) as model:
            yield Path(model.path)
        whole, place = (folder.joinpath(*tag.split(":")) for folder in (Path(name), store))
        place.parent.mkdir(exist_ok=True)
        try:
            whole.rename(place)
        except OSError:
            if not place.exists():
                # The store is a file system of its own.
                shutil.move(whole, place)
        # BentoML writes this file again, with the newest model.
        (place.parent / "latest").unlink(missing_ok=True)


def _folder() -> Path:
    return Path(BentoMLContainer.model_store.get()._path)
