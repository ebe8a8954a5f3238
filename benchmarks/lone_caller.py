"""Measures how long a lone caller waits beside decoding and computing alone: `python -m benchmarks.lone_caller`.

The server has keys, limits and usage log on SQLite. In each round the same photographs are decoded and computed in this
process, then sent by one caller, so that a machine whose speed drifts does not spoil the ratio. Other work on the
machine spoils how long a caller waits; it disturbs the ratio of processor time less.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import compared_servers
from benchmarks.cells import resumed
from benchmarks.compared_servers import ComparedServer
from benchmarks.machine_limit import MachineLimit
from benchmarks.prepared_models import prepare
from testing.http_load import closed_loop, photos
from testing.server_meter import cpu_s

WANTED = 1.15
ALONE_TIMES = 30
SIZES = ((500, 375), (64, 64))
# "resnet-18" is made in the folder of that name; the stand-in needs no checkpoint.
SETTINGS = {"resnet-18": {"CLASSIFIER_OFFLINE_MODEL": "deny"}, "stand-in": {"CLASSIFIER_OFFLINE_MODEL": "only"}}


def measure(model: str, rounds: int, seconds: float) -> None:
    """Measure one of the models of `SETTINGS`, and print each round and the medians.

    Args:
        model: the name of the model.
        rounds: the number of rounds.
        seconds: the time of each measurement of the caller.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared, _ = prepare(model, folder)
        settings = dict(SETTINGS[model])
        if (folder / model).exists():
            settings["CLASSIFIER_MODEL"] = str(folder / model)
        limit = MachineLimit(prepared.folder, "auto", 1)
        server = compared_servers.ours(folder / "ours", folder / "home" / "models", settings, with_auth=True)
        try:
            for size in SIZES:
                files = photos(size, 8)
                closed_loop(server.url, server.key, server.requests(files), 1, seconds)
                server.suspend()
                rounds_of_size = [_round(limit, server, files, seconds) for _ in range(rounds)]
                server.resume()
                waits, processor_times = zip(*rounds_of_size, strict=True)
                middle = statistics.median(waits)
                verdict = "holds" if middle <= WANTED else "MISSED"
                print(
                    f"{model}, {size[0]} x {size[1]}: the caller waits {middle:.2f} times as long "
                    f"({min(waits):.2f} to {max(waits):.2f}); wanted {WANTED}: {verdict}. "
                    f"Processor time: {statistics.median(processor_times):.2f} times "
                    f"({min(processor_times):.2f} to {max(processor_times):.2f})."
                )
        finally:
            server.end()


def _round(limit: MachineLimit, server: ComparedServer, files: list[bytes], seconds: float) -> tuple[float, float]:
    """Return how many times as long the caller waits, and how many times the processor time is, as alone."""
    began_s = time.process_time()
    alone_ms = limit.one_ms(files, ALONE_TIMES)
    alone_cpu_ms = (time.process_time() - began_s) * 1000 / ALONE_TIMES
    requests = server.requests(files)
    with resumed(server):
        before_s = cpu_s(server.pid)
        samples = closed_loop(server.url, server.key, requests, 1, seconds)
        cpu_ms = (cpu_s(server.pid) - before_s) * 1000 / len(samples)
    waited_ms = statistics.median(sample.ms for sample in samples)
    print(
        f"  alone {alone_ms:.2f} ms, processor {alone_cpu_ms:.2f} ms; "
        f"the caller {waited_ms:.2f} ms, processor {cpu_ms:.2f} ms",
        flush=True,
    )
    return waited_ms / alone_ms, cpu_ms / alone_cpu_ms


def main() -> None:
    """Measure both models."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lone_caller", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    for model in SETTINGS:
        measure(model, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
