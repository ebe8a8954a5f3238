"""What was measured is kept for the machine that it holds for, and found there again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model import choices
from model.store import PreparedModel
from model.tune.at_start import measure_in_subprocess
from tests.own_store import CHOICE, own_store, ready, settings

__all__ = ["own_store", "ready"]


@pytest.fixture
def home(tmp_path: Path, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of BentoML's whose models are those of the store, without what was measured for other tests."""
    monkeypatch.setattr("runtime.bentoml_config.home", lambda: tmp_path)
    return tmp_path


def test_what_was_measured_elsewhere_is_not_taken(
    ready: PreparedModel, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    choices.save(ready, settings(), CHOICE)
    assert choices.find(ready, settings()) == CHOICE
    assert choices.find(ready, settings(threads=1)) is None
    assert choices.find(ready, settings(precision="f32")) is None
    assert choices.find(replace(ready, tag="another:1"), settings()) is None
    with monkeypatch.context() as patched:
        patched.setattr(choices, "cores", lambda: 999)
        assert choices.find(ready, settings()) is None
    with monkeypatch.context() as patched:
        patched.setattr(choices, "_CPUINFO", tmp_path / "cpuinfo")
        (tmp_path / "cpuinfo").write_text("model name\t: Another\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor: 1\n")
        assert choices.fingerprint(ready, settings())["processor"] == {"name": "Another", "flags": "avx2 avx512_bf16"}
        assert choices.find(ready, settings()) is None
    with monkeypatch.context() as patched:
        patched.setattr(choices, "version", lambda _: "2099.1")
        assert choices.find(ready, settings()) is None
    assert choices.find(ready, settings()) == CHOICE


def test_a_damaged_file_or_one_for_another_machine_is_not_taken(ready: PreparedModel, home: Path) -> None:
    path = choices.save(ready, settings(), CHOICE)
    assert path is not None
    kept = json.loads(path.read_text())
    for spoilt in (
        {**kept, "fingerprint": {**kept["fingerprint"], "cores": 64}},
        {**kept, "choice": {**kept["choice"], "configuration": {"precision": "f16"}}},
        {"choice": kept["choice"]},
        [kept],
        "f32",
    ):
        path.write_text(json.dumps(spoilt))
        assert choices.find(ready, settings()) is None
    path.write_bytes(b"\x00{ no JSON")
    assert choices.find(ready, settings()) is None
    # What is measured then takes its place.
    assert choices.save(ready, settings(), CHOICE) == path
    assert choices.find(ready, settings()) == CHOICE


def test_a_size_of_batches_needs_no_other_measuring(ready: PreparedModel, home: Path) -> None:
    choices.save(ready, settings(), CHOICE)
    asked = choices.current(ready, settings(max_batch_size=3))
    assert asked.configuration == replace(CHOICE.configuration, batch_size=3)


def test_workers_take_what_the_start_says(ready: PreparedModel, home: Path) -> None:
    told = replace(CHOICE, why="told")
    assert choices.current(ready, settings(tuned=told.to_json())) == told
    assert choices.current(ready, settings(tuned="no JSON")).configuration.precision in ("f32", "bf16")
    assert choices.current(ready, settings(tune="off")).why == "not measured"


def test_a_store_that_can_not_be_written_to_costs_nothing_but_the_place(ready: PreparedModel, home: Path) -> None:
    # (A folder of another's would not stop root.)
    sealed = replace(ready, folder=Path("/proc/self"))
    path = choices.save(sealed, settings(), CHOICE)
    assert path is not None
    assert path.is_relative_to(home / "tuned")
    assert choices.find(sealed, settings()) == CHOICE


def test_what_was_measured_last_counts(ready: PreparedModel, home: Path) -> None:
    """An image brings what was measured where it was built; its container can write only elsewhere."""
    choices.save(ready, settings(), CHOICE)
    again = replace(CHOICE, measured_at="2026-12-24T18:00:00+00:00")
    choices.save(replace(ready, folder=Path("/proc/self")), settings(), again)
    assert choices.find(ready, settings()) == again


def test_bf16_that_could_not_be_compared_is_not_served(
    ready: PreparedModel, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder of the code is empty, so that measuring fails."""
    for path in ready.folder.glob(choices.PATTERN):
        path.unlink()
    asked = settings(precision="bf16")
    served = measure_in_subprocess(ready, asked, tmp_path)
    assert served.configuration.precision == "f32"
    assert "CLASSIFIER_PRECISION=bf16: float32 is served in its place (not measured" in caplog.text
    caplog.clear()
    assert measure_in_subprocess(ready, settings(precision="int8"), tmp_path).configuration.precision == "int8"
    assert "in its place" not in caplog.text


def test_bf16_is_served_unmeasured_only_where_measuring_is_switched_off(
    ready: PreparedModel, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = measure_in_subprocess(ready, settings(precision="bf16", tune="off"), tmp_path)
    assert served.configuration.precision == "bf16"
    assert "CLASSIFIER_TUNE=off: whether bf16 answers as float32 does" in caplog.text
