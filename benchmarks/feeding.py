"""Measures how many images gateways can send to a GPU, with a simulated engine: `python -m benchmarks.feeding`.

The server is the real one, with keys, limits and usage log on SQLite; only the engine is simulated (see `gpus.py`). The
runner is a service of its own, as on a GPU, with one gateway worker or several; or it is in the gateway's process.
Besides the throughput, it measures the latency of one caller before and after load, and the processor time of gateways
and runner for an image, from which follows how many cores keep the GPU busy.
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
    """The measurements of one server.

    Attributes:
        images_per_s: answers per second under load.
        batch: the mean number of images in a batch.
        gateway_ms, runner_ms: processor time for an image, ms.
        before_ms, after_ms: the median latency of one caller, before the load and just after it, ms.
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
            print(f"\n{gpu}: alone {GPUS[gpu].most_per_s(BATCH):,.0f} images/s\n")
            print("| runner, gateways | body | images/s | batch | gateway ms | runner ms | one caller, ms | cores |")
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


def _row(measured: Throughput, gpu: str) -> str:
    """Return the cells of a row; the last is how many cores would keep the GPU busy nine tenths of the time."""
    cores = 0.9 * GPUS[gpu].most_per_s(BATCH) * (measured.gateway_ms + measured.runner_ms) / 1000
    spent = f"{measured.gateway_ms:.2f} | {measured.runner_ms:.2f}"
    one_caller = f"{measured.before_ms:.1f}, {measured.after_ms:.1f}"
    return f"{measured.images_per_s:.0f} | {measured.batch:.1f} | {spent} | {one_caller} | {cores:.0f}"


def _cpu_s(server: Server, service: str) -> float:
    return sum(sum(psutil.Process(worker.pid).cpu_times()[:2]) for worker in server.workers(service))


def _batches(server: Server, key: str) -> tuple[float, float]:
    """Return the number of batches so far, and the number of images in them."""
    with server.client(key) as client:
        text = client.get("/metrics").text
    count, total = (
        sum(map(float, re.findall(rf"^bentoml_service_adaptive_batch_size_{part}\{{[^}}]*\}} (\S+)", text, re.M)))
        for part in ("count", "sum")
    )
    return count, total


if __name__ == "__main__":
    main()
