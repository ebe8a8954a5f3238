"""What authentication, limit and ledger cost: throughput with and without them, in turns, at 32 callers.

`python -m benchmarks.gate [--rounds 5] [--seconds 6] [--postgres]`. The model is a ResNet-18 made on the spot.
"""

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.load import closed_loop, json_photos, rate
from tests.checkpoints import save_resnet18
from tests.engines import Postgres
from tests.servers import Server, run_prepare

CALLERS = 32
WARM_UP_S = 3.0


def measure(rounds: int, seconds: float, database_url: str | None) -> None:
    """Print each round's two rates and their ratio, and the medians."""
    requests = json_photos()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        save_resnet18(folder / "resnet-18")
        settings = {"CLASSIFIER_MODEL": str(folder / "resnet-18"), "CLASSIFIER_OFFLINE_MODEL": "deny"}
        prepared = run_prepare(folder / "prepared" / "models", **settings)
        assert prepared.returncode == 0, prepared.stderr
        if database_url:
            settings["CLASSIFIER_DATABASE_URL"] = database_url
        full = Server(folder / "full", folder / "prepared" / "models", **settings)
        bare = Server(folder / "bare", folder / "prepared" / "models", **settings)
        bare.service = "benchmarks.bare:ImageClassifier"
        for server in (full, bare):
            server.start()
            stack.callback(server.end)
        key = full.create_key("bench@example.org", "--limit", "100000000/day")["key"]
        for server in (full, bare):
            closed_loop(server.url, key, requests, CALLERS, WARM_UP_S)
        ratios = []
        for number in range(rounds):
            # The order changes, so that a machine that slows down favours neither.
            order = (full, bare) if number % 2 == 0 else (bare, full)
            rates = {server.url: rate(closed_loop(server.url, key, requests, CALLERS, seconds)) for server in order}
            ratios.append(rates[full.url] / rates[bare.url])
            print(
                f"round {number + 1}: with the gate {rates[full.url]:6.1f}/s, without {rates[bare.url]:6.1f}/s, "
                f"ratio {ratios[-1]:.3f}",
                flush=True,
            )
        kind = "PostgreSQL" if database_url else "SQLite"
        print(f"gate on {kind}: median ratio {statistics.median(ratios):.3f} (wanted: over 0.900)")


def main() -> None:
    """Measure on SQLite, and on PostgreSQL where asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--postgres", action="store_true", help="measure on PostgreSQL too")
    arguments = parser.parse_args()
    measure(arguments.rounds, arguments.seconds, None)
    if arguments.postgres:
        postgres = Postgres()
        try:
            measure(arguments.rounds, arguments.seconds, postgres.new_database())
        finally:
            postgres.close()


if __name__ == "__main__":
    main()
