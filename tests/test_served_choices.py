"""What was measured is served by every start after that; `python -m model.tune` tells it, or measures it anew."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model import choices, openvino_engine
from model.configuration import choice_from_json
from model.store import PreparedModel
from testing.servers import PROJECT, Server, running
from tests.own_store import CHOICE, own_store, ready, settings

__all__ = ["own_store", "ready"]

KEYS = {"precision", "resize", "threads", "streams", "batch_size", "why", "measured_at"}


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
