"""What authentication, limit and ledger cost: throughput with and without them, in turns, at 32 callers.

`python -m benchmarks.gate [--rounds 5] [--seconds 6] [--postgres]`. The model is a ResNet-18 made on the spot.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp

from tests.checkpoints import save_resnet18
from tests.engines import Postgres
from tests.photographs import as_base64, crops, encoded
from tests.servers import Server, run_prepare

CALLERS = 32
WARM_UP_S = 3.0


async def throughput(url: str, key: str, seconds: float) -> tuple[float, list[float]]:
    """Answers of 200 a second, and how long each took in ms."""
    bodies = [{"image": as_base64(encoded(image.resize((500, 375)), "JPEG", quality=90))} for image in crops(8)]
    took_ms: list[float] = []
    began = time.perf_counter()
    ends = began + seconds
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(number: int) -> None:
            while (sent := time.perf_counter()) < ends:
                async with session.post(f"{url}/v1/classify", json=bodies[number % len(bodies)]) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()
                took_ms.append((time.perf_counter() - sent) * 1000)

        await asyncio.gather(*(call(number) for number in range(CALLERS)))
    return len(took_ms) / (time.perf_counter() - began), took_ms


def measure(rounds: int, seconds: float, database_url: str | None) -> None:
    """Print each round's two rates and their ratio, and the medians."""
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
            asyncio.run(throughput(server.url, key, WARM_UP_S))
        ratios = []
        for number in range(rounds):
            # The order changes, so that a machine that slows down favours neither.
            order = (full, bare) if number % 2 == 0 else (bare, full)
            rates = {server.url: asyncio.run(throughput(server.url, key, seconds))[0] for server in order}
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--postgres", action="store_true", help="also on PostgreSQL")
    asked = parser.parse_args()
    measure(asked.rounds, asked.seconds, None)
    if asked.postgres:
        postgres = Postgres()
        try:
            measure(asked.rounds, asked.seconds, postgres.new_database())
        finally:
            postgres.close()


if __name__ == "__main__":
    main()
