"""Starts the servers that `gateway.py` measures, all with a model that does nothing and this project's decoder."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import compared_servers
from benchmarks.compared_servers import EXTRAS, ComparedServer, started
from benchmarks.layers import AUTH_LAYERS, Layer
from benchmarks.peers.engine import NULL
from testing.http_load import Request
from testing.servers import Server

LITSERVE, MLSERVER = "LitServe", "MLServer"


@dataclass(frozen=True)
class NullServer:
    """A running server, and how requests to it look.

    Attributes:
        running: the server.
        workers: the number of its processes that take requests.
        takes_raw: whether it takes an image file as the body.
        path: the path of all its requests; None: the usual path of each kind.
    """

    running: ComparedServer
    workers: int = 1
    takes_raw: bool = True
    path: str | None = None

    @property
    def name(self) -> str:
        return self.running.name

    def requests(self, kind: str, files: Sequence[bytes]) -> list[Request]:
        """Return a "json" or "raw" request for each file."""
        made = self.running.requests(files) if kind == "json" else compared_servers.raw_requests(files)
        if self.path is None:
            return made
        return [Request(self.path, request.content_type, request.body) for request in made]


def ours(folder: Path, models: Path, name: str, without: Iterable[Layer] = (), workers: int = 1) -> NullServer:
    """Start this project's server on SQLite, with its runner in the same process, without some layers."""
    config = folder.with_suffix(".yaml")
    config.write_text(_bentoml_config("ImageClassifier", workers))
    settings = {"BENTOML_CONFIG": str(config), "CLASSIFIER_RUNNER": "embedded"}
    server = Server(folder, models, BENCH_WITHOUT=",".join(layer.name for layer in without), **settings)
    server.service = "benchmarks.without_layers:ImageClassifier"
    key = server.create_key("bench@example.org", "--limit", "100000000/day")["key"]
    server.start()
    requests, labels = compared_servers.v1_requests, compared_servers.v1_labels
    return NullServer(ComparedServer(name, server.url, key, requests, labels, server.end, server.pid), workers)


def ours_without_auth(folder: Path, models: Path) -> NullServer:
    """Start this project's server without keys, limits and usage log."""
    return ours(folder, models, "ours, no auth", AUTH_LAYERS)


def bentoml(folder: Path, model: Path, workers: int = 1, path: str | None = None) -> NullServer:
    """Start a BentoML service that only classifies, with the same settings of BentoML as ours."""
    home = folder / f"bentoml-{workers}"
    home.mkdir()
    config = home / "bentoml.yaml"
    config.write_text(_bentoml_config("Bare", workers))
    environment = {
        **_model_variables(model),
        "BENCH_WORKERS": str(workers),
        "BENTOML_HOME": str(home),
        "BENTOML_CONFIG": str(config),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    command = [sys.executable, "-m", "bentoml", "serve", "benchmarks.peers.bentoml_null:Bare", "--host", "127.0.0.1"]
    return _bare("BentoML", [*command, "--port"], "/readyz", environment, folder, workers, path)


def starlette(folder: Path, model: Path, workers: int = 1, path: str | None = None) -> NullServer:
    """Start a Starlette app that only classifies, under uvicorn."""
    command = [sys.executable, "-m", "benchmarks.peers.starlette_null", str(workers)]
    return _bare("Starlette", command, "/ready", _model_variables(model), folder, workers, path)


def litserve(folder: Path, model: Path) -> NullServer:
    """Start LitServe, which takes no image file as the body."""
    return NullServer(compared_servers.litserve(folder, model, NULL), takes_raw=False)


def mlserver(folder: Path, model: Path) -> NullServer:
    """Start MLServer, which takes no image file as the body."""
    return NullServer(compared_servers.mlserver(folder, model, NULL), takes_raw=False)


def is_installed(peer: str) -> bool:
    """Tell whether LitServe or MLServer is installed (`make bench-extras`)."""
    return (EXTRAS / peer.lower() / "installed.json").exists()


def _bare(
    name: str,
    command: list[str],
    ready: str,
    environment: dict[str, str],
    folder: Path,
    workers: int,
    path: str | None,
) -> NullServer:
    url, stop, pid = started(command, ready, environment, folder)
    server = ComparedServer(name, url, "none", compared_servers.v1_requests, compared_servers.v1_labels, stop, pid)
    return NullServer(server, workers, path=path)


def _model_variables(model: Path) -> dict[str, str]:
    return {"BENCH_MODEL": str(model), "BENCH_PRECISION": NULL}


def _bentoml_config(service: str, workers: int) -> str:
    """Return BentoML's settings as in `configs/development.yaml`, with the number of workers."""
    return (
        "services:\n"
        f"  {service}: {{workers: {workers}, traffic: {{timeout: 60}}, logging: {{access: {{enabled: false}}}}, "
        'tracing: {excluded_urls: ".*"}}\n'
    )
