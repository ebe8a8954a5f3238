"""What gateways can feed a GPU with, by an engine that takes as long as one: `python -m benchmarks.feeding`.

The real server, with keys, limits and usage log on SQLite; only the engine is simulated (see `gpus.py`). The runner is
a service of its own, as on a GPU, fed by one gateway worker and by several, or in the gateway's own process. Besides
what comes through, it tells how long a lone caller waits before and after load, and the processor time of gateways and
runner for an image: what a machine needs of it to keep the GPU busy.
"""

import argparse
import os
import re
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.gpus import GPUS
from benchmarks.tables import machine
from testing.http_load import Request, closed_loop, json_photos, photos, rate
from testing.servers import Server, run_prepare

CALLERS, SIZE = 64, (500, 375)
WARM_UP_S, ONE_CALLER_S = 2.0, 1.5
BATCH = 32
GATEWAY, RUNNER = "ImageClassifier", "ResNetRunner"


@dataclass(frozen=True)
class Throughput:
    """What one server did.

    Attributes:
        images_per_s: answers a second under load.
        batch: images in a batch, on average.
        gateway_ms, runner_ms: processor time for an image.
        before_ms, after_ms: the median wait of a lone caller ("alone"), before the load and just after it.
    """

    images_per_s: float
    batch: float
    gateway_ms: float
    runner_ms: float
    before_ms: float
    after_ms: float


def main() -> None:
    """Print a table for each simulated GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feeding", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load on each server")
    seconds: float = parser.parse_args().seconds
    kinds = {
        "raw": [Request("/v2/classify", "image/jpeg", file) for file in photos(SIZE, 8)],
        "json": json_photos(SIZE),
    }
    where = ", ".join(machine().values())
    print(f"{where}; {CALLERS} callers on the same cores, {SIZE[0]} x {SIZE[1]}, batches of at most {BATCH}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = folder / "prepared" / "models"
        prepared = run_prepare(models, CLASSIFIER_OFFLINE_MODEL="only")
        assert prepared.returncode == 0, prepared.stderr
        for gpu in GPUS:
            print(f"\n{gpu}: by itself {GPUS[gpu].most_per_s(BATCH):,.0f} images/s\n")
            print("| runner, gateways | body | images/s | batch | gateway ms | runner ms | alone, ms | cores |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- |")
            for title, server in _servers(folder, models, gpu):
                for kind, requests in kinds.items():
                    print(f"| {title} | {kind} | {_row(_measured(server, requests, seconds), gpu)} |", flush=True)


def _servers(folder: Path, models: Path, gpu: str) -> Iterator[tuple[str, Server]]:
    for runner, workers in (("service", 1), ("service", len(os.sched_getaffinity(0))), ("embedded", 1)):
        name = f"{gpu}-{runner}-{workers}".replace("/", "-")
        config = folder / f"{name}.yaml"
        config.write_text(
            "services:\n"
            f"  {GATEWAY}: {{workers: {workers}, logging: {{access: {{enabled: false}}}}, "
            'tracing: {excluded_urls: ".*"}}\n'
            f'  {RUNNER}: {{logging: {{access: {{enabled: false}}}}, tracing: {{excluded_urls: ".*"}}}}\n'
        )
        settings = {"BENTOML_CONFIG": str(config), "CLASSIFIER_RUNNER": runner, "CLASSIFIER_MAX_BATCH_SIZE": str(BATCH)}
        server = Server(folder / name, models, BENCH_GPU=gpu, CLASSIFIER_MAX_QUEUE="1000", **settings)
        server.service = "benchmarks.null_service:ImageClassifier"
        server.start()
        try:
            yield f"{runner}, {workers}", server
        finally:
            server.end()


def _measured(server: Server, requests: list[Request], seconds: float) -> Throughput:
    key = server.create_key("bench@example.org", "--limit", "100000000/day")["key"]
    metrics = server.create_key("metrics@example.org", "--scope", "metrics")["key"]

    def load(callers: int, lasts_s: float) -> list[float]:
        samples = closed_loop(server.url, key, requests, callers, lasts_s)
        assert {sample.status for sample in samples} == {200}
        rates.append(rate(samples))
        return [sample.ms for sample in samples]

    rates: list[float] = []
    load(CALLERS, WARM_UP_S)
    load(1, ONE_CALLER_S)
    before_ms = statistics.median(load(1, ONE_CALLER_S))
    spent = {service: _cpu_s(server, service) for service in (GATEWAY, RUNNER)}
    counted = _batches(server, metrics)
    answered = len(load(CALLERS, seconds))
    images_per_s = rates[-1]
    gateway_s, runner_s = (_cpu_s(server, service) - before for service, before in spent.items())
    batches, images = (now - then for now, then in zip(_batches(server, metrics), counted, strict=True))
    after_ms = statistics.median(load(1, ONE_CALLER_S))
    each = 1000 / answered
    return Throughput(images_per_s, images / batches, gateway_s * each, runner_s * each, before_ms, after_ms)


def _row(fed: Throughput, gpu: str) -> str:
    """The figures, and how many cores of such a machine would keep nine tenths of the GPU busy."""
    cores = 0.9 * GPUS[gpu].most_per_s(BATCH) * (fed.gateway_ms + fed.runner_ms) / 1000
    spent = f"{fed.gateway_ms:.2f} | {fed.runner_ms:.2f}"
    return f"{fed.images_per_s:.0f} | {fed.batch:.1f} | {spent} | {fed.before_ms:.1f}, {fed.after_ms:.1f} | {cores:.0f}"


def _cpu_s(server: Server, service: str) -> float:
    return sum(sum(psutil.Process(worker.pid).cpu_times()[:2]) for worker in server.workers(service))


def _batches(server: Server, key: str) -> tuple[float, float]:
    """How many batches there were, and how many images in them."""
    with server.client(key) as client:
        text = client.get("/metrics").text
    count, total = (
        sum(map(float, re.findall(rf"^bentoml_service_adaptive_batch_size_{part}\{{[^}}]*\}} (\S+)", text, re.M)))
        for part in ("count", "sum")
    )
    return count, total


if __name__ == "__main__":
    main()
