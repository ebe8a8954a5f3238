"""Two containers behind nginx, over PostgreSQL and Redis, and what callers see there."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testing.callers import Key, run_callers
from testing.history import Event, check
from testing.replicas import Replicas
from testing.servers import Server
from testing.store_servers import Postgres, RedisServer
from tests.containers import Container
from tests.proxies import Nginx

STAND_IN = {"CLASSIFIER_OFFLINE_MODEL": "only"}
UNLIMITED = ("--limit", "1000000/day")


class Behind(Replicas):
    """Two containers over PostgreSQL and Redis, behind nginx; `check`'s questions are asked of the stores."""

    def __init__(self, folder: Path, postgres: Postgres, redis: RedisServer) -> None:
        url = postgres.new_database()
        stores = Server(folder / "stores", folder, CLASSIFIER_DATABASE_URL=url, CLASSIFIER_REDIS_URL=redis.url)
        super().__init__([stores], redis)
        # The sockets alone are mounted: their folders are their owners'.
        database, cache = Path(url.rpartition("host=")[2]) / ".s.PGSQL.5432", Path(redis.url.removeprefix("unix://"))
        cache.chmod(0o777)
        mounts = ("--volume", f"{database}:/stores/.s.PGSQL.5432", "--volume", f"{cache}:/stores/redis.sock")
        settings = {
            "CLASSIFIER_DATABASE_URL": url.rpartition("host=")[0] + "host=/stores",
            "CLASSIFIER_REDIS_URL": "unix:///stores/redis.sock",
            "CLASSIFIER_TRUSTED_PROXIES": "127.0.0.1/32",
            **STAND_IN,
        }
        self.containers = [Container(folder / name, *mounts, **settings) for name in ("one", "two")]
        self.nginx = Nginx(folder / "nginx", [container.port for container in self.containers])


@pytest.fixture
def behind(tmp_path: Path, postgres: Postgres, redis: RedisServer) -> Iterator[Behind]:
    running = Behind(tmp_path, postgres, redis)
    try:
        # At once: only one of them finds an empty database to migrate.
        for container in running.containers:
            container.start()
        for container in running.containers:
            container.wait_until_ready()
        yield running
    finally:
        running.nginx.close()
        for container in running.containers:
            container.remove()


def run_for(behind: Behind, key: Key, meanwhile: Callable[[], None]) -> list[Event]:
    """What callers see at nginx for as long as something else takes."""
    over, events = threading.Event(), list[Event]()

    def act() -> None:
        meanwhile()
        over.set()

    acting = threading.Thread(target=act)
    acting.start()
    while not over.is_set():
        events += run_callers([behind.nginx.url], [key], 8, 1.0)
    acting.join()
    return events


def assert_nothing_is_lost(events: list[Event], behind: Behind) -> None:
    assert check(events, [(1_000_000, 86400.0)], behind.usage_log(), behind.hits()) == []
