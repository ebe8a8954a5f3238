"""Runs a server for minutes at 80 % of its capacity, to see whether memory and latency stay constant.

`python -m benchmarks.soak [--minutes 10] [--load 0.8]`. The model is a ResNet-18 with random weights.
"""

import argparse
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

from testing.checkpoints import save_resnet18
from testing.http_load import closed_loop, json_photos, open_loop, rate
from testing.servers import Server, run_prepare

SAMPLE_EVERY_S = 1.0
MAX_GROWTH = 1.05
MAX_MB = 1024


def main() -> None:
    """Print memory and latency for each minute, and the requirements beside what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--load", type=float, default=0.8, help="share of the capacity")
    arguments = parser.parse_args()
    requests = json_photos()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_resnet18(folder / "resnet-18")
        settings = {"CLASSIFIER_MODEL": str(folder / "resnet-18"), "CLASSIFIER_OFFLINE_MODEL": "deny"}
        prepared = run_prepare(folder / "prepared" / "models", **settings)
        assert prepared.returncode == 0, prepared.stderr
        server = Server(folder / "it", folder / "prepared" / "models", **settings)
        server.start()
        try:
            key = server.create_key("soak@example.org", "--limit", "100000000/day")["key"]
            closed_loop(server.url, key, requests, 32, 5)
            capacity = rate(closed_loop(server.url, key, requests, 32, 8))
            memory: list[tuple[float, float]] = []
            over = threading.Event()
            watching = threading.Thread(target=_watch, args=(server, memory, over))
            began = time.monotonic()
            watching.start()
            samples = open_loop(server.url, key, requests, arguments.load * capacity, arguments.minutes * 60)
            over.set()
            watching.join()
        finally:
            server.end()
    print(f"capacity {capacity:.0f}/s, offered {arguments.load * capacity:.0f}/s for {arguments.minutes:g} minutes")
    minutes = range(int(np.ceil(arguments.minutes)))
    means, medians = [], []
    for minute in minutes:
        times = [sample.ms for sample in samples if minute <= (sample.due - began) / 60 < minute + 1]
        means.append(float(np.mean([mb for at, mb in memory if minute <= (at - began) / 60 < minute + 1])))
        medians.append(float(np.percentile(times, 50)))
        latency = f"p50 {medians[-1]:6.1f} ms, p99 {np.percentile(times, 99):6.1f} ms"
        print(f"minute {minute + 1:2}: {means[-1]:6.1f} MB, {latency}")
    bad = [sample for sample in samples if sample.status != 200]
    growth, peak = means[-1] / means[min(1, len(means) - 1)], max(mb for _, mb in memory)
    trend = float(np.polyfit(list(minutes), medians, 1)[0]) if len(medians) > 2 else 0.0
    print(f"answers other than 200: {len(bad)} of {len(samples)}")
    for status, number in Counter(sample.status for sample in bad).most_common():
        first = next(sample for sample in bad if sample.status == status)
        print(f"  {status or 'no answer'}: {number}, the first in minute {int((first.due - began) / 60) + 1}")
    print(f"memory, last minute / second minute: {growth:.3f} (wanted: under {MAX_GROWTH})")
    print(f"most memory: {peak:.0f} MB (wanted: under {MAX_MB})")
    print(f"p50 changes by {trend:+.2f} ms per minute")


def _watch(server: Server, memory: list[tuple[float, float]], over: threading.Event) -> None:
    [gateway] = server.workers("ImageClassifier")
    while not over.wait(SAMPLE_EVERY_S):
        family = [gateway, *psutil.Process(gateway.ppid()).children(recursive=True)]
        memory.append((time.monotonic(), sum(one.memory_info().rss for one in set(family)) / 1e6))


if __name__ == "__main__":
    main()
