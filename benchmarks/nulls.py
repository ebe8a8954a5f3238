"""The servers that `gateway.py` measures, all with a model that does nothing and this project's decoder."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contenders
from benchmarks.contenders import EXTRAS, Contender, started
from benchmarks.layers import GATE, Layer
from benchmarks.peers.engine import NULL
from testing.http_load import Request
from testing.servers import Server

LITSERVE, MLSERVER = "LitServe", "MLServer"


@dataclass(frozen=True)
class Null:
    """A server that runs, and how it is asked.

    Attributes:
        contender: the server.
        workers: how many processes of it take requests.
        takes_raw: whether it takes an image file as the body.
        path: of all its requests, where that is not the usual one of their kind.
    """

    contender: Contender
    workers: int = 1
    takes_raw: bool = True
    path: str | None = None

    @property
    def name(self) -> str:
        return self.contender.name

    def requests(self, kind: str, files: Sequence[bytes]) -> list[Request]:
        """The files as `json` or `raw` requests."""
        made = self.contender.requests(files) if kind == "json" else contenders.raw_requests(files)
        if self.path is None:
            return made
        return [Request(self.path, request.content_type, request.body) for request in made]


def ours(folder: Path, models: Path, name: str, without: Iterable[Layer] = (), workers: int = 1) -> Null:
    """This project's server on SQLite, with its runner in the same process, without those layers."""
    config = folder.with_suffix(".yaml")
    config.write_text(_knobs("ImageClassifier", workers))
    settings = {"BENTOML_CONFIG": str(config), "CLASSIFIER_RUNNER": "embedded"}
    server = Server(folder, models, BENCH_WITHOUT=",".join(layer.name for layer in without), **settings)
    server.service = "benchmarks.without:ImageClassifier"
    key = server.create_key("bench@example.org", "--limit", "100000000/day")["key"]
    server.start()
    requests, labels = contenders.v1_requests, contenders.v1_labels
    return Null(Contender(name, server.url, key, requests, labels, server.end, server.pid), workers)


def ours_without_gate(folder: Path, models: Path) -> Null:
    """As `ours`, without keys, limits and usage log."""
    return ours(folder, models, "ours, no gate", GATE)


def bentoml(folder: Path, model: Path, workers: int = 1, path: str | None = None) -> Null:
    """A bare BentoML service with the same knobs as ours."""
    home = folder / f"bentoml-{workers}"
    home.mkdir()
    config = home / "knobs.yaml"
    config.write_text(_knobs("Bare", workers))
    environment = {
        **_asked(model),
        "BENCH_WORKERS": str(workers),
        "BENTOML_HOME": str(home),
        "BENTOML_CONFIG": str(config),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    command = [sys.executable, "-m", "bentoml", "serve", "benchmarks.peers.bentoml_null:Bare", "--host", "127.0.0.1"]
    return _bare("BentoML", [*command, "--port"], "/readyz", environment, folder, workers, path)


def starlette(folder: Path, model: Path, workers: int = 1, path: str | None = None) -> Null:
    """Bare Starlette under uvicorn."""
    command = [sys.executable, "-m", "benchmarks.peers.starlette_null", str(workers)]
    return _bare("Starlette", command, "/ready", _asked(model), folder, workers, path)


def litserve(folder: Path, model: Path) -> Null:
    """LitServe, which takes no image file as the body."""
    return Null(contenders.litserve(folder, model, NULL), takes_raw=False)


def mlserver(folder: Path, model: Path) -> Null:
    """MLServer, which takes no image file as the body."""
    return Null(contenders.mlserver(folder, model, NULL), takes_raw=False)


def is_installed(peer: str) -> bool:
    """Whether a peer with an environment of its own is there (`make bench-extras`)."""
    return (EXTRAS / peer.lower() / ".installed").exists()


def _bare(
    name: str,
    command: list[str],
    ready: str,
    environment: dict[str, str],
    folder: Path,
    workers: int,
    path: str | None,
) -> Null:
    url, stop, pid = started(command, ready, environment, folder)
    contender = Contender(name, url, "none", contenders.v1_requests, contenders.v1_labels, stop, pid)
    return Null(contender, workers, path=path)


def _asked(model: Path) -> dict[str, str]:
    return {"BENCH_MODEL": str(model), "BENCH_PRECISION": NULL}


def _knobs(service: str, workers: int) -> str:
    """BentoML's knobs as `configs/development.yaml` sets them, and the number of workers."""
    return (
        "services:\n"
        f"  {service}: {{workers: {workers}, traffic: {{timeout: 60}}, logging: {{access: {{enabled: false}}}}, "
        'tracing: {excluded_urls: ".*"}}\n'
    )
