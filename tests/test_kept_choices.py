"""What was measured is kept for the machine that it holds for, and served by every start after that."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from configs.settings import Settings
from model import choices, openvino_engine, store
from model.configuration import Choice, Configuration, choice_from_json
from model.store import PreparedModel
from model.tune.at_start import measure_in_subprocess
from testing.servers import PROJECT, Server, running

KEYS = {"precision", "resize", "threads", "streams", "batch_size", "why", "measured_at"}
CHOICE = Choice(Configuration("f32", "exact", 2, 1, 8), "float32: 88 images/s; bf16: 48", "2026-11-25T08:00:00+00:00")


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Path:
    said = (model_store.parent / "said").read_text()
    assert "[model] Chosen: float32" in said or "[model] Chosen: bf16" in said
    return Path(shutil.copytree(model_store, tmp_path_factory.mktemp("tuned") / "models"))


@pytest.fixture
def home(tmp_path: Path, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of BentoML's whose models are those of the store, without what was measured for other tests."""
    monkeypatch.setattr("runtime.bentoml_config.home", lambda: tmp_path)
    return tmp_path


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


def test_a_start_serves_what_preparing_measured(tmp_path: Path, own_store: Path) -> None:
    with running(tmp_path / "it", own_store, CLASSIFIER_TUNE="auto") as server:
        key = server.create_key("it@example.org")["key"]
        with server.client(key) as client:
            [model] = client.get("/v2/models").json()["models"]
            one = client.get(f"/v2/models/{model['name']}").json()
            document = client.get("/openapi.json").json()
        log = server.log.read_text()
    assert "Measuring" not in log
    assert set(model["chosen"]) == KEYS
    assert one == model
    assert model["chosen"]["precision"] == model["precision"]
    assert model["chosen"]["measured_at"] is not None
    assert model["chosen"]["why"].startswith(("float32: ", "bf16: "))
    assert model["chosen"]["why"] in log
    assert set(document["components"]["schemas"]["Chosen"]["properties"]) == KEYS


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


def test_with_no_place_at_all_the_workers_still_hear_of_it_and_of_bf16_where_there_is_none(
    tmp_path: Path, own_store: Path, ready: PreparedModel
) -> None:
    place = choices.save(ready, settings(precision="bf16"), CHOICE)
    assert place is not None
    place.unlink()
    # Neither place can be written to: a folder has the file's name, and a file the folder's.
    place.mkdir()
    server = Server(tmp_path / "it", own_store, CLASSIFIER_PRECISION="bf16", CLASSIFIER_TUNE="auto")
    (tmp_path / "it" / "bentoml" / "tuned").write_text("")
    try:
        server.start()
        key = server.create_key("it@example.org")["key"]
        with server.client(key) as client:
            [model] = client.get("/v2/models").json()["models"]
        log = server.log.read_text()
    finally:
        server.end()
        place.rmdir()
    assert log.count("[tune] Chosen: ") == 1
    assert model["chosen"]["measured_at"] is not None
    assert "Traceback" not in log
    if "bf16" in openvino_engine.precisions():
        pytest.skip("this processor computes in bf16")
    assert (model["precision"], model["chosen"]["resize"]) == ("f32", "exact")
    assert "bf16 was asked for, which this machine does not compute in" in model["chosen"]["why"]
    assert "bf16 was asked for, which this machine does not compute in" in log
    assert "CLASSIFIER_PRECISION=bf16: float32 is served in its place (float32: " in log


def test_looking_costs_a_start_next_to_nothing(own_store: Path) -> None:
    program = (
        "import sys, time; from configs.settings import Settings;"
        "from model import choices; from model.prepared import find_prepared;"
        "settings = Settings(_env_file=None, offline_model='only'); prepared = find_prepared(settings);"
        "import model.tune.tuning; started = time.process_time(); found = choices.find(prepared, settings);"
        "print(found is not None, time.process_time() - started, {'torch', 'openvino'} & sys.modules.keys() or 'none')"
    )
    server_home = str(own_store.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={"BENTOML_HOME": server_home, "BENTOML_DO_NOT_TRACK": "True", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    found, seconds, loaded = done.stdout.split()
    assert (found, loaded) == ("True", "none")
    assert float(seconds) < 0.05


def test_two_at_once_leave_one_whole_file(own_store: Path, ready: PreparedModel, tmp_path: Path) -> None:
    server = Server(tmp_path / "it", own_store, CLASSIFIER_TUNE="auto")
    command = [sys.executable, "-m", "model.tune", "--anew", "--json", "--seconds", "2"]
    both = [
        subprocess.Popen(
            command, cwd=PROJECT, env=server.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    told = [choice_from_json(one.communicate()[0]) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    [path] = ready.folder.glob(choices.PATTERN)
    assert choice_from_json(json.dumps(json.loads(path.read_text())["choice"])) in told
    assert not list(ready.folder.glob("*.tmp"))


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


def test_a_folder_of_too_few_photographs_is_told_in_one_line(own_store: Path, tmp_path: Path) -> None:
    server = Server(tmp_path / "it", own_store, CLASSIFIER_TUNE="auto")
    for folder, says in ((tmp_path, "0 photographs show too little"), (tmp_path / "nowhere", "no such folder")):
        command = [sys.executable, "-m", "model.tune", "--photographs", str(folder)]
        done = subprocess.run(command, cwd=PROJECT, env=server.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_command_prints_the_table(own_store: Path, tmp_path: Path) -> None:
    server = Server(tmp_path / "it", own_store, CLASSIFIER_TUNE="auto")
    done = subprocess.run(
        [sys.executable, "-m", "model.tune"],
        cwd=PROJECT,
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    head, first, *_ = done.stdout.splitlines()
    assert head.split()[:3] == ["precision", "resize", "threads"]
    assert first.split()[:2] == ["float32", "exact"]
    assert done.stderr == "", "what is known is not measured again"
    nothing = subprocess.run(
        [sys.executable, "-m", "model.tune"],
        cwd=PROJECT,
        env={**server.environment, "BENTOML_HOME": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert nothing.returncode == 1
    assert nothing.stderr == "[tune] ERROR: There is no prepared model to measure; run 'make model' first.\n"
