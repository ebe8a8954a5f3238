"""Every family that transformers classifies images with: served as its own pipeline answers, or refused by name.

The tables in the README and in `docs/models.md` are made of what comes of it: `make families`.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from model import store
from model.images.resize import fit
from model.openvino_engine import OpenVinoEngine
from model.store import GRAPH
from testing.photographs import crops
from tests import families_table
from tests.families import FAMILIES, LABELS, model_type, pipeline_answers, save_family
from tests.prepare_all import prepare_all

PICTURES = 6
SERVED = [name for name, family in FAMILIES.items() if not family.refused]
REFUSED = [name for name, family in FAMILIES.items() if family.refused]
# What transformers can't make here: it lacks what they need, or has no small one.
NOT_MADE = {"dinat", "shieldgemma2", "timm_wrapper"}


@pytest.fixture(scope="session")
def tried(run_folder: Path) -> Path:
    """A folder with a checkpoint of each family, and a model store of those that could be prepared."""
    folder = run_folder / "families"
    with FileLock(run_folder / "families.lock"):
        if not (folder / "told").exists():
            for name in FAMILIES:
                save_or_pretend(name, folder / "checkpoints" / slug(name))
            told = prepare_all(folder / "home" / "models", sorted((folder / "checkpoints").iterdir()))
            (folder / "told").mkdir()
            for name, (status, said) in told.items():
                (folder / "told" / name).write_text(f"{status}\n{said}")
    return folder


def slug(name: str) -> str:
    return name.replace(" (", "-").replace(" ", "-").rstrip(")")


def save_or_pretend(name: str, folder: Path) -> None:
    if name not in NOT_MADE:
        return save_family(name, folder)
    save_family("vit", folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"model_type": "vit"', f'"model_type": "{name}"'))
    return None


def told_of(tried: Path, name: str) -> tuple[int, str]:
    status, said = (tried / "told" / slug(name)).read_text().split("\n", 1)
    return int(status), said


def test_every_family_of_the_installed_transformers_is_tried() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN

    assert {model_type(name) for name in FAMILIES} == set(KNOWN)
    for known, classes in KNOWN.items():
        assert len([name for name in FAMILIES if model_type(name) == known]) == (
            1 if isinstance(classes, str) else len(classes)
        )


@pytest.mark.parametrize("name", SERVED)
def test_what_is_served_is_what_the_pipeline_answers(tried: Path, name: str) -> None:
    status, said = told_of(tried, name)
    assert status == 0, said
    [folder] = (tried / "home" / "models" / slug(name)).glob("*-*")
    prepared = store.open_folder(name, folder)
    pictures = list(crops(PICTURES))
    theirs = pipeline_answers(tried / "checkpoints" / slug(name), pictures)
    labels = prepared.manifest.labels
    assert len(labels) == LABELS
    expected = np.array([[told[label] for label in labels] for told in theirs])
    assert np.ptp(expected, axis=0).max() > 0.1, "a model that says the same of every picture shows nothing"
    engine = OpenVinoEngine(prepared.folder / GRAPH, "f32", threads=1)
    ours = engine.predict(np.stack([fit(picture, prepared.recipe) for picture in pictures]))
    assert np.abs(ours - expected).max() <= 1e-4


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_served_is_refused_in_one_sentence_that_says_why(tried: Path, name: str) -> None:
    status, said = told_of(tried, name)
    assert status == 1
    assert "Traceback" not in said
    [line] = [line for line in said.splitlines() if "ERROR" in line]
    assert FAMILIES[name].refused in line
    assert model_type(name) in line
    assert not (tried / "home" / "models" / slug(name)).exists()


def test_the_tables_say_what_came_of_it(tried: Path) -> None:
    outcomes = {name: told_of(tried, name) for name in FAMILIES}
    if os.environ.get("WRITE_FAMILIES"):
        families_table.write(outcomes)
    assert families_table.stale(outcomes) == [], "run make families"
