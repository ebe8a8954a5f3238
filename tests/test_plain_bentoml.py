"""Plain `bentoml serve`, in a clone and from a Bento, as BentoML's documentation teaches it: no variable, no `make`."""

import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from configs.settings import Settings
from model.errors import ModelError
from model.prepared import find_prepared
from runtime import bentos
from testing.photographs import COFFEE
from testing.ports import free_port
from testing.servers import PROJECT, Server, inherited
from testing.waiting import PATIENCE_S

COMMAND = re.compile(r"There is no API key yet; create one: (.+)$", re.MULTILINE)
PROGRAMS = Path(sys.executable).parent
# What there is in a clone, and in no Bento.
NOT_SHIPPED = ("tests/test_it.py", "api/__pycache__/routes.cpython-311.pyc")


class PlainServer(Server):
    """A server that a person starts by one command in a shell, in an activated `.venv`."""

    def __init__(self, folder: Path, command: str, environment: dict[str, str], log: Path) -> None:
        self.project, self.log, self.environment = folder, log, environment
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = command

    def launch(self, *options: str) -> None:
        command = ["sh", "-c", f"exec env {self.command} --port {self.port} {shlex.join(options)}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.project,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def shell(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a second terminal, in the folder that the server was started in."""
        environment = {**self.environment, **variables}
        return subprocess.run(
            ["sh", "-c", command], cwd=self.project, env=environment, capture_output=True, text=True, check=False
        )

    def key_by_the_command_of_the_log(self) -> str:
        """Create a key by the command that the start has logged."""
        [command] = COMMAND.findall(self.log.read_text())
        done = self.shell(f"{command} --json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["key"])


def classified(server: Server, key: str) -> str:
    """Send the photograph, and return its first label."""
    with server.client(key) as client, COFFEE.open("rb") as file:
        answer = client.post("/v2/classify", content=file, headers={"Content-Type": "image/png"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictions"][0]["label"])


def logged(database: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT endpoint, status FROM usage_log").fetchall()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Path:
    """A fresh clone with its `.venv`, and the prepared stand-in where `make model` puts it."""
    folder = tmp_path_factory.mktemp("plain") / "a clone"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(".*", "var", "__pycache__", "tests"))
    # What `make` has installed already: newer than the locks.
    (folder / ".venv").mkdir()
    for path in PROGRAMS.parent.iterdir():
        (folder / ".venv" / path.name).symlink_to(path)
    for lock in (folder / "requirements").iterdir():
        os.utime(lock, (0, 0))
    (folder / ".env").write_text("CLASSIFIER_OFFLINE_MODEL=only\n")
    for name in NOT_SHIPPED:
        (folder / name).parent.mkdir()
        (folder / name).touch()
    (folder / "var" / "bentoml").mkdir(parents=True)
    (folder / "var" / "bentoml" / "models").symlink_to(model_store)
    return folder


@pytest.fixture(scope="module")
def terminal(clone: Path) -> dict[str, str]:
    """The environment of a terminal in which `.venv` is activated, with a home of its own."""
    home = clone.parent / "home"
    home.mkdir()
    kept = {name: value for name, value in inherited().items() if name not in ("PYTHONPATH", "XDG_DATA_HOME")}
    return {**kept, "HOME": str(home), "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def plain(clone: Path, terminal: dict[str, str]) -> Iterator[PlainServer]:
    server = PlainServer(clone, "bentoml serve", terminal, clone.parent / "plain.log")
    server.start()
    yield server
    server.end()


def test_bentoml_serve_in_a_clone_is_the_server_of_make_serve(plain: PlainServer) -> None:
    assert classified(plain, plain.key_by_the_command_of_the_log()) == "espresso"
    # `make serve` has the same database: the default one of the checkout.
    assert logged(plain.project / "var" / "classifier.db") == [("/v2/classify", 200)]
    assert f"(Database: {plain.project}/var/classifier.db)" in plain.shell("python -m auth list").stderr


def test_it_has_the_bentoml_settings_of_make_serve(plain: PlainServer) -> None:
    listening = {
        connection.laddr.ip
        for process in (psutil.Process(plain.pid), *psutil.Process(plain.pid).children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == plain.port
    }
    assert listening == {"127.0.0.1"}
    httpx.get(f"{plain.url}/no/such/path")
    assert "scheme=http,method=GET" not in plain.log.read_text(), "BentoML's own access log is off"


def test_a_second_server_leaves_the_first_its_metrics_and_its_keys_are_found(plain: PlainServer) -> None:
    metrics = json.loads(plain.shell("python -m auth create --email m@example.org --scope metrics --json").stdout)[
        "key"
    ]
    with plain.client(metrics) as client:
        before = client.get("/metrics").text
    elsewhere = plain.project.parent / "elsewhere.db"
    other = PlainServer(
        plain.project,
        "bentoml serve",
        {**plain.environment, "CLASSIFIER_DATABASE_URL": f"sqlite:///{elsewhere}"},
        plain.project.parent / "other.log",
    )
    metrics_folder = plain.project / "var" / "bentoml" / "prometheus_multiproc_dir"
    (metrics_folder / "1-1").mkdir()
    other.start()
    try:
        assert {path.name.partition("-")[0] for path in metrics_folder.iterdir()} == {str(plain.pid), str(other.pid)}
        with plain.client(metrics) as client:
            after = client.get("/metrics").text
        names = {line.split("{")[0].split(" ")[0] for line in before.splitlines() if not line.startswith("#")}
        assert names, before
        assert names <= {line.split("{")[0].split(" ")[0] for line in after.splitlines()}
        # In a terminal without the variable, the operator works with the server that started last, and is told so.
        done = plain.shell("python -m auth create --email ada@example.org --json")
        assert f"(Database: {elsewhere}, of the running server)" in done.stderr
        assert classified(other, json.loads(done.stdout)["key"]) == "espresso"
        from_elsewhere = plain.shell(f"cd / && PYTHONPATH={shlex.quote(str(plain.project))} python -m auth list")
        assert f"(Database: {elsewhere}, of the running server)" in from_elsewhere.stderr
        own = f"sqlite:///{plain.project}/var/classifier.db"
        assert "m@example.org" in plain.shell("python -m auth list", CLASSIFIER_DATABASE_URL=own).stdout
        [written] = (plain.project / "var" / "servers").glob(f"{other.pid}-*")
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
    finally:
        other.stop()
    # It has ended: its database is not the running server's any more.
    assert "m@example.org" in plain.shell("python -m auth list").stdout


def test_an_option_of_bentoml_says_how_long_connections_may_be_idle(clone: Path, terminal: dict[str, str]) -> None:
    """By default, for longer than clients keep them: `test_connections.py`."""
    elsewhere = {**terminal, "CLASSIFIER_DATABASE_URL": f"sqlite:///{clone.parent / 'idle.db'}"}
    server = PlainServer(clone, "bentoml serve", elsewhere, clone.parent / "idle.log")
    server.start("--timeout-keep-alive", "1")
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as caller:
            caller.sendall(b"GET /livez HTTP/1.1\r\nHost: it\r\n\r\n")
            answer = b"".join(iter(lambda: caller.recv(65536), b""))
    finally:
        server.end()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" not in answer.lower()


@pytest.fixture(scope="module")
def shipped(clone: Path, terminal: dict[str, str]) -> dict[str, Path]:
    """The files of the Bento that `bentoml build` makes, before it is served; by their names in it."""
    built = subprocess.run(
        ["sh", "-c", "bentoml build --output tag"], cwd=clone, env=terminal, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    version = built.stdout.strip().rpartition(":")[2]
    [manifest] = {path.resolve() for path in clone.parent.glob(f"**/bentos/image-classifier/{version}/bento.yaml")}
    return {path.relative_to(manifest.parent).as_posix(): path for path in manifest.parent.glob("**/*")}


@pytest.fixture(scope="module")
def bento(clone: Path, terminal: dict[str, str], shipped: dict[str, Path]) -> Iterator[PlainServer]:
    """That Bento, served by its tag from an empty folder."""
    empty = clone.parent / "empty"
    empty.mkdir()
    server = PlainServer(empty, "bentoml serve image-classifier:latest", terminal, clone.parent / "bento.log")
    server.start()
    yield server
    server.end()


def test_a_bento_serves_from_an_empty_folder(bento: PlainServer) -> None:
    assert classified(bento, bento.key_by_the_command_of_the_log()) == "espresso"
    data = Path(bento.environment["HOME"]) / ".local" / "share" / "image-classifier"
    assert logged(data / "classifier.db") == [("/v2/classify", 200)]
    assert [*bento.project.iterdir()] == []


def test_a_bento_holds_the_model_and_what_ships(clone: Path, shipped: dict[str, Path]) -> None:
    assert "efficientnet-lite0-offline-stand-in" in shipped["bento.yaml"].read_text()
    code = {name.removeprefix("src/") for name in shipped if name.startswith("src/")}
    assert "storage/migrations/env.py" in code
    assert all((clone / name).exists() for name in (*NOT_SHIPPED, "var", ".env"))
    assert not [name for name in code if name.startswith(("tests", "var", ".env")) or "__pycache__" in name]
    locked = shipped["env/python/requirements.txt"].read_text()
    assert "bentoml==1.4.39" in locked
    assert "torch==" not in locked


def test_make_bento_prints_a_command_that_serves_from_any_folder(
    clone: Path, terminal: dict[str, str], tmp_path: Path
) -> None:
    # `make` looks for nothing in the user's `PATH`, so neither does the command that it prints.
    unactivated = {**terminal, "PATH": os.environ["PATH"], "XDG_DATA_HOME": str(tmp_path / "data")}
    # `make test` runs this test: a `make` inside of another one tells its folders.
    unactivated = {
        name: value for name, value in unactivated.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    made = subprocess.run(["make", "bento"], cwd=clone, env=unactivated, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    command = made.stdout.strip().splitlines()[-1]
    assert command.endswith(" serve image-classifier:latest")
    (tmp_path / "empty").mkdir()
    server = PlainServer(tmp_path / "empty", command, unactivated, tmp_path / "made.log")
    server.start()
    try:
        assert classified(server, server.key_by_the_command_of_the_log()) == "espresso"
        assert logged(tmp_path / "data" / "image-classifier" / "classifier.db") == [("/v2/classify", 200)]
    finally:
        server.stop()


def test_a_bento_is_in_bentomls_list(bento: PlainServer) -> None:
    assert "image-classifier:" in bento.shell("bentoml list").stdout


def test_without_a_prepared_model_a_build_says_what_to_run(
    clone: Path, terminal: dict[str, str], tmp_path: Path
) -> None:
    environment = {**terminal, "BENTOML_HOME": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", "bentoml build"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "run 'make bento'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert [*tmp_path.glob("bentos/*")] == []


def test_a_bento_without_a_model_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bentos, "packed_models", lambda: ())
    with pytest.raises(ModelError, match="build it by 'make bento'"):
        find_prepared(Settings(prepared_model=""))
