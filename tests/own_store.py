"""What the tests of kept choices share: a model store of their own, a choice, and settings."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.settings import Settings
from model import choices, store
from model.configuration import Choice, Configuration
from model.store import PreparedModel

CHOICE = Choice(Configuration("f32", "exact", 2, 1, 8), "float32: 88 images/s; bf16: 48", "2026-11-25T08:00:00+00:00")


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Path:
    said = (model_store.parent / "said").read_text()
    assert "[model] Chosen: float32" in said or "[model] Chosen: bf16" in said
    return Path(shutil.copytree(model_store, tmp_path_factory.mktemp("tuned") / "models"))


@pytest.fixture
def ready(own_store: Path) -> Iterator[PreparedModel]:
    [folder] = own_store.glob("efficientnet*/*-*")
    kept = {path: path.read_bytes() for path in folder.glob(choices.PATTERN)}
    yield store.open_folder(f"{folder.parent.name}:{folder.name}", folder)
    for path in folder.glob(choices.PATTERN):
        path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)


def settings(**asked: object) -> Settings:
    return Settings(_env_file=None, offline_model="only", **asked)  # type: ignore[arg-type]
