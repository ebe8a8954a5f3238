"""Whether more gateway workers carry more: a model that does nothing, the runner as a service, n workers.

`python -m benchmarks.workers [--rounds 5] [--seconds 4]`. Small images, so that the gate is what costs.
"""

import argparse
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.load import closed_loop, json_photos, rate
from tests.servers import Server, run_prepare

CALLERS = 32
SIZE = (64, 64)


def main() -> None:
    """Print the rate for each number of workers, and its ratio to that of one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    requests = json_photos(SIZE)
    numbers = range(1, len(os.sched_getaffinity(0)) + 1)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        prepared = run_prepare(folder / "prepared" / "models", CLASSIFIER_OFFLINE_MODEL="only")
        assert prepared.returncode == 0, prepared.stderr
        servers: dict[int, Server] = {}
        keys: dict[int, str] = {}
        rates: dict[int, list[float]] = {number: [] for number in numbers}
        for number in numbers:
            config = folder / f"{number}.yaml"
            config.write_text(
                "services:\n"
                f"  ImageClassifier: {{workers: {number}, logging: {{access: {{enabled: false}}}}, "
                'tracing: {excluded_urls: ".*"}}\n'
                '  ResNetRunner: {logging: {access: {enabled: false}}, tracing: {excluded_urls: ".*"}}\n'
            )
            settings = {"BENTOML_CONFIG": str(config), "CLASSIFIER_RUNNER": "service"}
            server = Server(folder / str(number), folder / "prepared" / "models", **settings)
            server.service = "benchmarks.idle:ImageClassifier"
            server.start()
            stack.callback(server.end)
            servers[number], keys[number] = (
                server,
                server.create_key("b@example.org", "--limit", "100000000/day")["key"],
            )
            closed_loop(server.url, keys[number], requests, CALLERS, 2)
        for _ in range(arguments.rounds):
            for number in numbers:
                samples = closed_loop(servers[number].url, keys[number], requests, CALLERS, arguments.seconds)
                rates[number].append(rate(samples))
        for number in numbers:
            ratio = statistics.median(more / one for more, one in zip(rates[number], rates[1], strict=True))
            print(f"{number} workers: {statistics.median(rates[number]):6.1f}/s, {ratio:.2f} times one worker")


if __name__ == "__main__":
    main()
