"""One truth about the database: the server, its workers and `python -m auth` find the same one, from any folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.start import write_down_database
from configs.settings import Settings, SettingsError, load_settings
from runtime import running_servers
from testing.servers import PROJECT, Server

PASSWORD = "kestrel"
PROTECTED = f"postgresql://ada:{PASSWORD}@db.example:5433/classifier?options=-csearch_path%3Dours"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable, and a current folder that is not the checkout."""
    for name in [name for name in os.environ if name.startswith("CLASSIFIER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def auth(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m auth` with a data folder of its own."""
    operator = Server(folder / f"home-{len([*folder.iterdir()])}", folder)
    del operator.environment["CLASSIFIER_DATABASE_URL"]
    operator.environment |= {"CLASSIFIER_DATA_DIR": str(folder / "data"), **variables}
    return operator.auth(*arguments)


def write_down(folder: Path, url: str) -> None:
    """Do what a server does at its start; this process is the one that runs."""
    write_down_database(Settings(data_dir=folder / "data", database_url=url))


@pytest.fixture(autouse=True)
def _no_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What this test writes down must not reach the checkout."""
    monkeypatch.setattr("configs.data_folder.default", lambda: tmp_path / "default")


def test_the_database_is_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().database_url == f"sqlite:///{tmp_path}/default/classifier.db"
    monkeypatch.setenv("CLASSIFIER_DATABASE_URL", "sqlite:///some/it.db")
    assert load_settings().database_url == f"sqlite:///{PROJECT}/some/it.db"
    monkeypatch.setenv("CLASSIFIER_DATABASE_URL", "sqlite:////srv/it.db")
    assert load_settings().database_url == "sqlite:////srv/it.db"


def test_the_default_is_var_of_the_checkout_from_any_folder(tmp_path: Path) -> None:
    program = "from configs.settings import load_settings as s; print(s().database_url)"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"sqlite:///{PROJECT}/var/classifier.db\n"


def test_a_data_folder_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSIFIER_DATA_DIR", str(tmp_path / "here"))
    assert load_settings().database_url == f"sqlite:///{tmp_path}/here/classifier.db"
    odd = tmp_path / "a b'c" / "ü%20 #x?"
    created = auth(tmp_path, "create", "--email", "ada@example.org", CLASSIFIER_DATA_DIR=str(odd))
    assert created.stderr == f"(Database: {odd}/classifier.db)\n"
    copy = auth(tmp_path, "backup", str(tmp_path / "copy.db"), CLASSIFIER_DATA_DIR=str(odd))
    assert (copy.returncode, (tmp_path / "copy.db").stat().st_size > 0) == (0, True), copy.stderr
    monkeypatch.setenv("CLASSIFIER_DATA_DIR", "here")
    with pytest.raises(SettingsError, match="CLASSIFIER_DATA_DIR: give an absolute path"):
        load_settings()


def test_a_command_works_with_the_database_of_the_running_server(tmp_path: Path) -> None:
    write_down(tmp_path, f"sqlite:///{tmp_path}/other.db")
    created = auth(tmp_path, "create", "--email", "ada@example.org", "--json")
    assert created.stderr == f"(Database: {tmp_path}/other.db, of the running server)\n"
    assert "ada@example.org" in auth(tmp_path, "list").stdout
    assert not (tmp_path / "data" / "classifier.db").exists()
    # The database that is set always wins, and `init` prepares the one of the next server.
    own = auth(tmp_path, "init", CLASSIFIER_DATABASE_URL=f"sqlite:///{tmp_path}/own.db")
    assert own.stderr == f"(Database: {tmp_path}/own.db)\n"
    assert auth(tmp_path, "init").stderr == f"(Database: {tmp_path}/data/classifier.db)\n"


def test_a_password_is_never_written_down(tmp_path: Path) -> None:
    write_down(tmp_path, PROTECTED)
    [written] = (tmp_path / "data" / "servers").iterdir()
    assert (written.stat().st_mode & 0o777, PASSWORD in written.read_text()) == (0o600, False)
    done = auth(tmp_path, "list")
    assert done.returncode == 1
    assert "classifier on db.example:5433" in done.stderr
    assert "set CLASSIFIER_DATABASE_URL" in done.stderr
    assert "ada" not in done.stderr


@pytest.mark.parametrize("ended", ["999999999-1", "1-1", "no server", "1-x"])
def test_a_server_that_has_ended_does_not_count_and_its_files_are_removed(tmp_path: Path, ended: str) -> None:
    folder = tmp_path / "data" / "servers"
    (folder / ended).mkdir(parents=True)
    (folder / f"{ended}.json").write_text(json.dumps({"database_url": f"sqlite:///{tmp_path}/gone.db"}))
    done = auth(tmp_path, "list")
    assert f"There is no database at {tmp_path}/data/classifier.db" in done.stderr
    write_down(tmp_path, f"sqlite:///{tmp_path}/other.db")
    assert [path.name for path in folder.iterdir()] == [f"{running_servers.own_name()}.json"]


def test_a_folder_that_is_not_writable_stops_no_start(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    write_down(tmp_path, f"sqlite:///{tmp_path}/other.db")
