"""Starts real servers for tests, as `make serve` does, on a free port, with its own database and home."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from testing.empty_databases import make_tables
from testing.operators import Operator
from testing.ports import free_port
from testing.waiting import PATIENCE_S, wait_until

PROJECT = Path(__file__).parent.parent
READY_WITHIN_S = 180
ENDS_WITHIN_S = 120
DATABASE = "classifier.db"

# Settings of the developer must not reach a test.
_OWN = ("CLASSIFIER_", "BENTOML_", "OMP_")
_INHERITED = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}


def inherited() -> dict[str, str]:
    """Return the environment of a process that a test starts, without settings of this project, BentoML or OpenMP."""
    return dict(_INHERITED)


class Server(Operator):
    """A server that can be started, stopped and started again with the same folder.

    Args:
        folder: for its BentoML home, its log and its SQLite database.
        model_store: BentoML's model store, with the prepared model.
        settings: environment variables of the server.
    """

    def __init__(self, folder: Path, model_store: Path, **settings: str) -> None:
        home = folder / "bentoml"
        home.mkdir(parents=True)
        (home / "models").symlink_to(model_store)
        self.folder = folder
        self.project = PROJECT
        self.service = "service:ImageClassifier"
        self.executable = sys.executable
        self.log = folder / "server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **_INHERITED,
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_CONFIG": str(PROJECT / "configs" / "development.yaml"),
            "CLASSIFIER_DATABASE_URL": f"sqlite:///{folder / DATABASE}",
            "CLASSIFIER_OFFLINE_MODEL": "only",
            # Without a saved choice, a start measures for seconds; only test_served_choices.py needs that.
            "CLASSIFIER_TUNE": "auto" if _is_measured(model_store, settings) else "off",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def has_workers(self) -> bool:
        """See `Operator`."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The id of the process that starts the others."""
        assert self._process is not None
        return self._process.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that starts the others: to send it signals and to wait for it."""
        assert self._process is not None
        return self._process

    def start(self, *options: str) -> None:
        """Start and wait until the server is ready; `options` are those of `python -m api.serve`."""
        self.launch(*options)
        self.wait_until_ready()

    def launch(self, *options: str) -> None:
        """Start without waiting until the server is ready. An SQLite database in its folder has its tables already."""
        self.make_tables()
        command = [self.executable, "-m", "api.serve", self.service]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port), *options],
                cwd=self.project,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def make_tables(self) -> None:
        """See `Operator`."""
        database = self.folder / DATABASE
        if self.environment["CLASSIFIER_DATABASE_URL"] == f"sqlite:///{database}" and not database.exists():
            make_tables(f"sqlite:///{database}")

    def wait_until_ready(self) -> None:
        """Return once `/readyz` answers 200.

        Raises:
            AssertionError: the server ended, or was not ready in time; the message has the end of its log.
        """
        assert self._process is not None
        wait_until(self._has_started_or_ended, lambda: f"the server is ready\n{self._end_of_log()}", READY_WITHIN_S)
        assert self._process.poll() is None, f"the server ended instead\n{self._end_of_log()}"

    def _has_started_or_ended(self) -> bool:
        return self.process.poll() is not None or is_ready(self.url)

    def _end_of_log(self) -> str:
        return self.log.read_text()[-4000:]

    def stop(self) -> int:
        """Stop the server with SIGTERM, as an operator would, and return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(ENDS_WITHIN_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to every process of the server. (Its workers have process groups of their own.)"""
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            arbiter = psutil.Process(self.pid)
            for process in (arbiter, *arbiter.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()
        self._process = None

    def kill_supervisor(self) -> None:
        """Send SIGKILL to the process that started the workers."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def end(self) -> None:
        """Stop the server if it runs."""
        if self._process is not None:
            self.stop()

    def ensure_running(self) -> None:
        """Start the server again unless it runs and is ready, or soon will be."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(AssertionError):
                self.wait_until_ready()
                return
            self.kill()
        self.start()

    def workers(self, service: str) -> list[psutil.Process]:
        """Return the worker processes of a service: `ImageClassifier` or `ResNetRunner`."""
        found = []
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "runtime.worker" in process.cmdline() and service in process.cmdline():
                    found.append(process)
        return found

    def client(self, key: str | None = None) -> httpx.Client:
        """Return an HTTP client of the server that sends the key, if one is given."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S)


def is_ready(url: str) -> bool:
    """Return whether `/readyz` of the server answers 200."""
    # Not by httpx, which would spend more processor time on each of the many looks than the server on its start.
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    return False


def _is_measured(model_store: Path, settings: dict[str, str]) -> bool:
    forced = {"CLASSIFIER_PRECISION", "CLASSIFIER_THREADS", "CLASSIFIER_ENGINE"} & settings.keys()
    return not forced and any(model_store.glob("*/*/tuned-*.json"))


@contextlib.contextmanager
def running(folder: Path, model_store: Path, **settings: str) -> Iterator[Server]:
    """Run a server within a block; the arguments are those of `Server`."""
    server = Server(folder, model_store, **settings)
    try:
        server.start()
        yield server
    finally:
        server.end()


def run_prepare(model_store: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m model.prepare`, which writes to that model store; `settings` are environment variables."""
    command = [sys.executable, "-m", "model.prepare", *arguments]
    environment = preparing(model_store, **settings)
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def preparing(model_store: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a process that prepares a model, and make the folder of its model store."""
    model_store.mkdir(parents=True, exist_ok=True)
    environment = {**_INHERITED, "BENTOML_HOME": str(model_store.parent), "BENTOML_DO_NOT_TRACK": "True"}
    # Several threads of torch would wait for each other, and for the cores that other tests use.
    return environment | {"CLASSIFIER_TUNE": "off", "OMP_NUM_THREADS": "1", **settings}
