"""Quotas, exact whatever the concurrency: in both databases, with requests that are refused, half answered, or die."""

import asyncio
import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from storage import keys
from storage.database import Database
from storage.keys import NewKey
from storage.models import usage_log
from storage.policy import Limit
from storage.quotas import Quota
from storage.reservations import KEPT_S, QuotaRequest
from storage.store import Store
from storage.usage import UsageRow
from testing.billing import Attempt, Left, check_billing
from testing.empty_databases import make_tables
from testing.history import LoggedRow
from testing.store_servers import Postgres, RedisServer
from tests.raw_sql import RawSql

QUOTA = 20
QUOTAS = (Quota(QUOTA, "month"), Quota(1000, "day"))
LIMITS = (Limit(100_000, 60),)
MIDDAY_US = int(datetime(2026, 11, 15, 12, tzinfo=UTC).timestamp()) * 1_000_000


class Replicas:
    """Two processes' ways to one database, with a user that has a quota.

    Attributes:
        user: the user's id.
        at_us: when requests arrive, Unix microseconds.
    """

    def __init__(self, url: str, redis_url: str | None = None) -> None:
        make_tables(url)
        self.at_us = MIDDAY_US
        self.stores = [Store(url, redis_url, clock_us=lambda: self.at_us) for _ in range(2)]
        new = NewKey("a@b", None, LIMITS, "key", "hash", frozenset(), MIDDAY_US, None, None, QUOTAS)
        self.user = self.database.change(partial(keys.issue, new=new)).user_id
        self._numbers = itertools.count(1)

    @property
    def database(self) -> Database:
        return self.stores[0].database

    async def request(self, images: int, answered: int | None, in_lines: bool = False) -> Attempt:
        """Send a request, of which so many images are answered; None: it dies before its row is written.

        In lines, each image has a row of its own, and a request that dies has answered its first image.
        """
        number = next(self._numbers)
        store, request_id, at_us = self.stores[number % 2], f"req_{number}", self.at_us
        asked = QuotaRequest(self.user, QUOTAS, request_id, images, at_us)
        row = UsageRow(request_id, self.user, "key", "/v2/classify/batch", "POST", 429, 5.0, at_us, 0, takes_quota=True)
        attempt = Attempt(self.user, "key", 0, 0, 429, request_id, images)
        if not (await store.hit(self.user, LIMITS, images, quota=asked)).admitted:
            await store.record(row)
        elif in_lines:
            are_answered = [True] if answered is None else [number < answered for number in range(images)]
            for number, is_answered in enumerate(are_answered):
                image = row._replace(request_id=f"{request_id}.{number}", part_of=request_id, images=1)
                status = 200 if is_answered else 400
                assert await store.record(image._replace(status=status, billable=int(is_answered))) is None
            if answered is not None:
                await store.record(row._replace(status=200))
            attempt = replace(attempt, status=200, answered=sum(are_answered), is_whole=answered is not None)
        elif answered is None:
            attempt = replace(attempt, status=None, request_id=None)
        else:
            status = 200 if answered else 400
            withheld = await store.record(row._replace(status=status, images=images, billable=answered))
            attempt = replace(attempt, status=503 if withheld else status, answered=0 if withheld else answered)
        return attempt

    async def remaining(self) -> int:
        asked = QuotaRequest(self.user, QUOTAS, "", 0, self.at_us)
        return (await self.stores[1].standing(self.user, LIMITS, quota=asked)).quotas[0].remaining

    def rows(self) -> list[LoggedRow]:
        table = usage_log.c
        columns = (table.request_id, table.user_id, table.status, table.images, table.billable, table.key_id)
        query = usage_log.select().with_only_columns(*columns)
        return self.database.ask(lambda connection: [LoggedRow(*row) for row in connection.execute(query)])

    async def close(self) -> None:
        for store in self.stores:
            await store.close()


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> Replicas:
    """Limits in the database, and limits in Redis."""
    url, redis_url = f"sqlite:///{tmp_path}/it.db", None
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    elif request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis")
        redis_url = redis.url
    return Replicas(url, redis_url)


@pytest.mark.parametrize("seed", range(3))
def test_never_more_than_the_quota_and_none_fewer_once_reservations_settle(replicas: Replicas, seed: int) -> None:
    chance = random.Random(seed)

    async def run() -> None:
        wanted = [chance.choice([1, 1, 2, 3]) for _ in range(60)]
        # A request is answered whole, in part, not at all, or dies.
        fates = [chance.choice([images, images, chance.randint(0, images), 0, None]) for images in wanted]
        in_lines = [chance.random() < 0.4 for _ in wanted]
        asked = zip(wanted, fates, in_lines, strict=True)
        events = await asyncio.gather(*(replicas.request(*one) for one in asked))
        assert {event.status for event in events} <= {200, 400, 429, None}
        at_rest = Left(await replicas.remaining(), is_settled=False)
        assert check_billing(events, replicas.rows(), QUOTA, {replicas.user: at_rest}) == []
        replicas.at_us += KEPT_S * 1_000_000 + 1
        assert check_billing(events, replicas.rows(), QUOTA, {replicas.user: Left(await replicas.remaining())}) == []
        events += await asyncio.gather(*(replicas.request(1, 1) for _ in range(QUOTA + 5)))
        assert check_billing(events, replicas.rows(), QUOTA, {replicas.user: Left(0)}) == []
        await replicas.close()

    asyncio.run(run())


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_quotas_hold_whatever_isolation_is_the_default_of_the_database(postgres: Postgres, isolation: str) -> None:
    url = postgres.new_database()
    with RawSql(url) as raw:
        [[name]] = raw.rows("SELECT current_database()")
        raw.change(f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'")
    replicas = Replicas(url)

    def shown(connection: Connection) -> object:
        return connection.scalar(text("SHOW transaction_isolation"))

    # With another one, a request may overlook what it has waited for; that needs luck to be seen.
    assert replicas.database.change(shown) == "read committed"

    async def run() -> None:
        events = []
        for _ in range(10):
            events += await asyncio.gather(*(replicas.request(1, 1) for _ in range(8)))
        assert {event.status for event in events} == {200, 429}
        assert check_billing(events, replicas.rows(), QUOTA, {replicas.user: Left(0)}) == []
        await replicas.close()

    asyncio.run(run())


def test_a_request_that_outlived_its_reservation_is_not_answered(replicas: Replicas) -> None:
    """Both at once: the last image of the quota goes to one of them."""

    async def run() -> None:
        store = replicas.stores[0]
        first = await replicas.request(QUOTA - 1, QUOTA - 1)
        late = QuotaRequest(replicas.user, QUOTAS, "req_late", 1, replicas.at_us)
        assert (await store.hit(replicas.user, LIMITS, quota=late)).admitted
        row = UsageRow("req_late", replicas.user, "key", "/v1/classify", "POST", 200, 5.0, replicas.at_us, 1, 1)
        replicas.at_us += KEPT_S * 1_000_000 + 1
        other, withheld = await asyncio.gather(replicas.request(1, 1), store.record(row._replace(takes_quota=True)))
        assert (other.status == 200) == (withheld is not None)
        given = (503, "req_late", 1, 0) if withheld else (200, "req_late", 1, 1)
        attempts = [first, other, Attempt(replicas.user, "key", 0, 0, *given)]
        assert check_billing(attempts, replicas.rows(), QUOTA, {replicas.user: Left(0)}) == []
        await replicas.close()

    asyncio.run(run())


def test_without_a_quota_no_statement_is_added(tmp_path: Path) -> None:
    """Seen by SQLite itself: neither admission nor usage row of a user without a quota touches the reservations."""
    replicas = Replicas(f"sqlite:///{tmp_path}/it.db")
    replicas.database.change(lambda connection: connection.exec_driver_sql("DROP TABLE quota_reservations"))

    async def run() -> None:
        assert (await replicas.stores[0].hit(replicas.user, LIMITS)).admitted
        row = UsageRow("req_1", replicas.user, "key", "/v1/classify", "POST", 200, 5.0, MIDDAY_US, 1, 1)
        assert await replicas.stores[0].record(row) is None
        await replicas.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("quota", "at", "start", "end"),
    [
        ("1/month", (2026, 12, 31, 23, 59, 59), (2026, 12, 1), (2027, 1, 1)),
        ("1/month", (2027, 1, 1), (2027, 1, 1), (2027, 2, 1)),
        ("1/month", (2028, 2, 29, 23), (2028, 2, 1), (2028, 3, 1)),
        ("1/month", (2027, 2, 28), (2027, 2, 1), (2027, 3, 1)),
        ("1/day", (2028, 2, 28, 23, 59, 59), (2028, 2, 28), (2028, 2, 29)),
        ("1/day", (2028, 2, 29), (2028, 2, 29), (2028, 3, 1)),
    ],
)
def test_months_and_days_are_those_of_the_calendar(
    quota: str, at: tuple[int, ...], start: tuple[int, ...], end: tuple[int, ...]
) -> None:
    def unix_s(when: tuple[int, ...]) -> int:
        return int(datetime(*[*when, 0, 0, 0][:6]).replace(tzinfo=UTC).timestamp())  # type: ignore[arg-type]

    period = Quota.parse(quota).period_at(unix_s(at) * 1_000_000 + 999_999)
    assert (period.start_s, period.end_s) == (unix_s(start), unix_s(end))
