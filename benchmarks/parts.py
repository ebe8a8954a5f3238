"""Measures what a request costs each part of a large installation: `python -m benchmarks.parts [--seconds 8]`.

One gateway worker with a model that does nothing, limits in Redis, users and usage log in PostgreSQL. It measures the
processor time of the gateway, of PostgreSQL and of Redis for a request, and the bytes that a request adds to the
stores. `docs/scaling.md` uses these figures.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import redis as redis_client
import sqlalchemy

from benchmarks.tables import machine
from testing.http_load import closed_loop, json_photos, rate
from testing.server_meter import cpu_s
from testing.servers import Server, run_prepare
from testing.store_servers import Postgres, RedisServer

CALLERS = 32
SIZES = ((64, 64), (500, 375))
WARM_UP_S = 3.0


@dataclass(frozen=True)
class Installation:
    """A running server, its stores, and a key."""

    server: Server
    postgres: Postgres
    redis: RedisServer
    key: str

    def row(self, size: tuple[int, int], seconds: float) -> str:
        """Measure requests with photographs of this size (width, height), and return a line with the results."""
        requests, url = json_photos(size), self.server.url
        closed_loop(url, self.key, requests, CALLERS, WARM_UP_S)
        spent, stored = self._spent_s(), self._stored_bytes()
        samples = closed_loop(url, self.key, requests, CALLERS, seconds)
        assert {sample.status for sample in samples} == {200}
        each = {part: (now - spent[part]) / len(samples) * 1e6 for part, now in self._spent_s().items()}
        added = {part: (now - stored[part]) / len(samples) for part, now in self._stored_bytes().items()}
        took = ", ".join(f"{part} {us:.0f} µs" for part, us in each.items())
        keeps = ", ".join(f"{part} {size:.0f} bytes" for part, size in added.items())
        return f"{size[0]} x {size[1]}: {rate(samples):.0f} requests/s; each takes {took}, and adds {keeps}"

    def _spent_s(self) -> dict[str, float]:
        pids = {"gateway": self.server.pid, "PostgreSQL": self.postgres.pid, "Redis": self.redis.pid}
        return {part: cpu_s(pid) for part, pid in pids.items()}

    def _stored_bytes(self) -> dict[str, int]:
        url = self.server.environment["CLASSIFIER_DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:", 1)
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            rows = connection.scalar(sqlalchemy.text("SELECT pg_database_size(current_database())")) or 0
        engine.dispose()
        with redis_client.Redis.from_url(self.redis.url) as client:
            return {"PostgreSQL": int(rows), "Redis": int(client.info("memory")["used_memory"])}


def main() -> None:
    """Print a line for small and for usual photographs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load for each size of photographs")
    seconds: float = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = folder / "prepared" / "models"
        prepared = run_prepare(models, CLASSIFIER_OFFLINE_MODEL="only")
        assert prepared.returncode == 0, prepared.stderr
        (folder / "redis").mkdir()
        postgres, redis = Postgres(), RedisServer(folder / "redis")
        stores = {"CLASSIFIER_DATABASE_URL": postgres.new_database(), "CLASSIFIER_REDIS_URL": redis.url}
        server = Server(folder / "it", models, CLASSIFIER_RUNNER="embedded", **stores)
        server.service = "benchmarks.null_service:ImageClassifier"
        try:
            key = server.create_key("bench@example.org", "--limit", "100000000/day")["key"]
            server.start()
            where = ", ".join(machine().values())
            print(f"{where}; {CALLERS} callers on the same cores, one user, a model that does nothing")
            for size in SIZES:
                print(Installation(server, postgres, redis, key).row(size, seconds), flush=True)
        finally:
            server.end()
            redis.close()
            postgres.close()


if __name__ == "__main__":
    main()
