"""The limits in SQLite, PostgreSQL and Redis, with a clock that the test sets."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import func, select

from storage import keys, limits
from storage.database import Database
from storage.keys import NewKey
from storage.limits import HitRequest
from storage.limits_redis import RedisLimits
from storage.models import hits
from storage.policy import Decision, Limit
from testing.empty_databases import make_tables

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
DAY_S = 86400

Hitting = Callable[..., Decision]


class Sql:
    """The limits in a database."""

    def __init__(self, url: str) -> None:
        make_tables(url)
        self.database = Database(url)
        self._loop = asyncio.new_event_loop()
        new = NewKey("a@b", None, (Limit(5, 60),), "key", "hash", frozenset(), START, None)
        self.user = self.database.change(lambda connection: keys.issue(connection, new)).user_id

    def hit(self, of_user: tuple[Limit, ...], at_us: int, cost: int = 1, kept_s: int = DAY_S) -> Decision:
        asked = HitRequest(self.user, of_user, cost, lambda: at_us, kept_s)
        decision: Decision = self._loop.run_until_complete(self.database.write(limits.hit, asked))
        return decision

    def look(self, of_user: tuple[Limit, ...], at_us: int) -> Decision:
        asked = HitRequest(self.user, of_user, 0, lambda: at_us)
        return self.database.ask(lambda connection: limits.test(connection, asked))

    def kept(self) -> int:
        return self.database.ask(lambda connection: connection.scalar(select(func.count()).select_from(hits))) or 0

    def close(self) -> None:
        self.database.close()
        self._loop.close()


class InRedis:
    """The limits in Redis."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._url = url
        self._limits = RedisLimits(url)
        self.user = f"usr_{uuid.uuid4().hex}"

    def hit(self, of_user: tuple[Limit, ...], at_us: int, cost: int = 1, kept_s: int = DAY_S) -> Decision:
        asked = HitRequest(self.user, of_user, cost, lambda: at_us, kept_s)
        return self._loop.run_until_complete(self._limits.hit(asked))

    def look(self, of_user: tuple[Limit, ...], at_us: int) -> Decision:
        return self._loop.run_until_complete(self._limits.test(HitRequest(self.user, of_user, 0, lambda: at_us)))

    def kept(self) -> int:
        with Redis.from_url(self._url) as client:
            return int(client.zcard(f"classifier:hits:{self.user}"))

    def close(self) -> None:
        self._loop.run_until_complete(self._limits.close())
        self._loop.close()


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sql | InRedis]:
    """The same tests run over every place where limits are counted."""
    made: Sql | InRedis
    if request.param == "redis":
        made = InRedis(request.getfixturevalue("redis").url)
    elif request.param == "postgresql":
        made = Sql(request.getfixturevalue("postgres").new_database())
    else:
        made = Sql(f"sqlite:///{tmp_path}/it.db")
    yield made
    made.close()


@pytest.fixture
def hit(backend: Sql | InRedis) -> Hitting:
    return backend.hit
