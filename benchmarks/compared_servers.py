"""Starts the servers that `compare.py` measures: this one, with and without keys and limits, and those of others."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from testing.http_load import JSON, Request
from testing.photographs import as_base64
from testing.servers import PROJECT, Server

READY_WITHIN_S = 120
EXTRAS = PROJECT / "var" / "bench"


@dataclass(frozen=True)
class ComparedServer:
    """A running server.

    Attributes:
        name: the name in tables.
        url: where it listens.
        key: the key of its requests.
        requests: makes its requests from JPEG files.
        labels: reads the labels from the body of an answer, the most probable first.
        stop: stops it; it must not be suspended.
        pid: the id of its first process.
    """

    name: str
    url: str
    key: str
    requests: Callable[[Sequence[bytes]], list[Request]]
    labels: Callable[[bytes], list[str]]
    stop: Callable[[], None]
    pid: int

    def suspend(self) -> None:
        """Suspend all its processes: some servers use the processor even without requests."""
        for process in self._processes():
            process.suspend()

    def resume(self) -> None:
        """Resume all its processes."""
        for process in self._processes():
            process.resume()

    def end(self) -> None:
        """Stop it, suspended or not."""
        self.resume()
        self.stop()

    def _processes(self) -> list[psutil.Process]:
        first = psutil.Process(self.pid)
        return [first, *first.children(recursive=True)]


def ours(folder: Path, models: Path, settings: dict[str, str], with_auth: bool) -> ComparedServer:
    """Start this project's server, with or without authentication, limits and usage log."""
    server = Server(folder, models, **settings)
    if not with_auth:
        server.service = "benchmarks.without_auth:ImageClassifier"
    key = server.create_key("bench@example.org", "--limit", "100000000/day")["key"]
    server.start()
    name = "ours" if with_auth else "ours, no auth"
    return ComparedServer(name, server.url, key, v1_requests, v1_labels, server.end, server.pid)


def tutorial(folder: Path, checkpoint: Path) -> ComparedServer:
    """Start the server that tutorials teach, with torch and transformers."""
    environment = {"BENCH_CHECKPOINT": str(checkpoint), "BENCH_DATABASE": str(folder / "tutorial.db")}
    url, stop, pid = started([sys.executable, "-m", "benchmarks.peers.tutorial"], "/ready", environment, folder)
    return ComparedServer("tutorial", url, "tutorial-key", v1_requests, v1_labels, stop, pid)


def peers_are_installed() -> bool:
    """Tell whether LitServe and MLServer are installed (`make bench-extras`)."""
    return all((EXTRAS / name / "installed.json").exists() for name in ("litserve", "mlserver"))


def litserve(folder: Path, model: Path, precision: str) -> ComparedServer:
    """Start LitServe, in its own environment (`make bench-extras`)."""
    python = EXTRAS / "litserve" / "bin" / "python"
    environment = {"BENCH_MODEL": str(model), "BENCH_PRECISION": precision}
    command = [str(python), "-m", "benchmarks.peers.litserve_server"]
    url, stop, pid = started(command, "/health", environment, folder)
    return ComparedServer("LitServe", url, "none", lambda files: _v1_shaped("/classify", files), v1_labels, stop, pid)


def mlserver(folder: Path, model: Path, precision: str) -> ComparedServer:
    """Start MLServer, in its own environment (`make bench-extras`)."""
    settings = folder / "mlserver"
    settings.mkdir()
    port, grpc, metrics = (free_port() for _ in range(3))
    ports = {"http_port": port, "grpc_port": grpc, "metrics_port": metrics}
    (settings / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    batching = {"max_batch_size": 16, "max_batch_time": 0.002}
    implementation = "benchmarks.peers.mlserver_model.Classify"
    (settings / "model-settings.json").write_text(
        json.dumps({"name": "classify", "implementation": implementation, **batching})
    )
    environment = {"BENCH_MODEL": str(model), "BENCH_PRECISION": precision}
    command = [str(EXTRAS / "mlserver" / "bin" / "mlserver"), "start", str(settings)]
    url, stop, pid = started(command, "/v2/models/classify/ready", environment, folder, port)

    def requests(files: Sequence[bytes]) -> list[Request]:
        return [
            Request("/v2/models/classify/infer", JSON, json.dumps({"inputs": [_v2_input(data)]}).encode())
            for data in files
        ]

    def labels(answer: bytes) -> list[str]:
        [output] = json.loads(answer)["outputs"]
        return [found["label"] for found in json.loads(output["data"][0])]

    return ComparedServer("MLServer", url, "none", requests, labels, stop, pid)


def v1_requests(files: Sequence[bytes]) -> list[Request]:
    """Return a JSON request of v1 for each file."""
    return _v1_shaped("/v1/classify", files)


def raw_requests(files: Sequence[bytes]) -> list[Request]:
    """Return a request of v2 for each file, with the file as its body."""
    return [Request("/v2/classify", "image/jpeg", data) for data in files]


def v1_labels(answer: bytes) -> list[str]:
    """Return the labels in the body of an answer of v1 or v2."""
    return [found["label"] for found in json.loads(answer)["predictions"]]


def _v1_shaped(path: str, files: Sequence[bytes]) -> list[Request]:
    return [Request(path, JSON, json.dumps({"image": as_base64(data)}).encode()) for data in files]


def _v2_input(data: bytes) -> dict[str, object]:
    return {"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": [as_base64(data)]}


def free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(
    command: list[str], ready: str, more: dict[str, str], folder: Path, port: int | None = None
) -> tuple[str, Callable[[], None], int]:
    """Start a server and wait until it is ready.

    Args:
        command: the command; without `port`, a free port is added as its last argument.
        ready: the path that answers 200 once the server is ready.
        more: further environment variables.
        folder: the working directory, also for the log.
        port: the port that the command uses.

    Returns:
        The server's URL, a function that stops it, and the id of its process.

    Raises:
        SystemExit: the server did not become ready; the message names its log.
    """
    if port is None:
        port = free_port()
        command = [*command, str(port)]
    environment = {**os.environ, **more, "PYTHONPATH": str(PROJECT)}
    log = (folder / f"{Path(command[0]).parent.parent.name}-{port}.log").open("wb")
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)

    def stop() -> None:
        os.killpg(process.pid, 15)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
        log.close()

    url, give_up = f"http://127.0.0.1:{port}", time.monotonic() + READY_WITHIN_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if httpx.get(url + ready, timeout=5).status_code == 200:
                return url, stop, process.pid
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit(f"ERROR: {' '.join(command)} did not become ready; see {log.name}.")
