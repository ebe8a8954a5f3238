"""Measures whether more gateway workers answer more: with a model that does nothing and the runner as a service.

`python -m benchmarks.workers [--rounds 5] [--seconds 4]`. Images are small, so that the middlewares take most of the
time.
"""

import argparse
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.turns import in_turns, median_ratio
from testing.http_load import json_photos
from testing.servers import Server, run_prepare

SIZE = (64, 64)


def main() -> None:
    """Print the rate for each number of workers, and its ratio to the rate of one worker."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    numbers = range(1, len(os.sched_getaffinity(0)) + 1)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        models = folder / "prepared" / "models"
        prepared = run_prepare(models, CLASSIFIER_OFFLINE_MODEL="only")
        assert prepared.returncode == 0, prepared.stderr
        servers = {str(number): Server(folder / str(number), models, **_settings(folder, number)) for number in numbers}
        for server in servers.values():
            server.service = "benchmarks.null_service:ImageClassifier"
            server.start()
            stack.callback(server.end)
        rates = in_turns(servers, json_photos(SIZE), arguments.rounds, arguments.seconds)
    for number in servers:
        ratio = median_ratio(rates, number, "1")
        print(f"{number} workers: {statistics.median(rates[number]):6.1f}/s, {ratio:.2f} times one worker")


def _settings(folder: Path, workers: int) -> dict[str, str]:
    """Return the settings for a runner as a service and this many gateway workers."""
    config = folder / f"{workers}.yaml"
    config.write_text(
        "services:\n"
        f"  ImageClassifier: {{workers: {workers}, logging: {{access: {{enabled: false}}}}, "
        'tracing: {excluded_urls: ".*"}}\n'
        '  ResNetRunner: {logging: {access: {enabled: false}}, tracing: {excluded_urls: ".*"}}\n'
    )
    return {"BENTOML_CONFIG": str(config), "CLASSIFIER_RUNNER": "service"}


if __name__ == "__main__":
    main()
