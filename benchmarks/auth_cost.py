"""Measures what authentication, limits and usage log cost: the throughput with and without them, in turns, 32 callers.

`python -m benchmarks.auth_cost [--rounds 5] [--seconds 6] [--postgres]`. The model is a ResNet-18 with random weights.
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.turns import in_turns, median_ratio
from testing.checkpoints import save_resnet18
from testing.http_load import json_photos
from testing.servers import Server, run_prepare
from testing.store_servers import Postgres


def measure(rounds: int, seconds: float, database_url: str | None) -> None:
    """Print both rates of each round, and the median of their ratio.

    Args:
        rounds: the number of rounds.
        seconds: the time of each measurement.
        database_url: a PostgreSQL database; None: SQLite.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        save_resnet18(folder / "resnet-18")
        settings = {"CLASSIFIER_MODEL": str(folder / "resnet-18"), "CLASSIFIER_OFFLINE_MODEL": "deny"}
        prepared = run_prepare(folder / "prepared" / "models", **settings)
        assert prepared.returncode == 0, prepared.stderr
        if database_url:
            settings["CLASSIFIER_DATABASE_URL"] = database_url
        with_auth = Server(folder / "auth", folder / "prepared" / "models", **settings)
        without_auth = Server(folder / "no-auth", folder / "prepared" / "models", **settings)
        without_auth.service = "benchmarks.without_auth:ImageClassifier"
        servers = {"with auth": with_auth, "without auth": without_auth}
        for server in servers.values():
            server.start()
            stack.callback(server.end)
        ratio = median_ratio(in_turns(servers, json_photos(), rounds, seconds), "with auth", "without auth")
    kind = "PostgreSQL" if database_url else "SQLite"
    print(f"keys, limits and usage log on {kind}: median ratio {ratio:.3f} (wanted: over 0.900)")


def main() -> None:
    """Measure on SQLite, and with `--postgres` on PostgreSQL too."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.auth_cost", description=__doc__)
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
