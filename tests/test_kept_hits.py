"""Which hits are kept and forgotten, replicas that share them, and how limits are written."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from storage import keys, limits, users
from storage.keys import NewKey
from storage.limits import HitRequest
from storage.limits_redis import RedisLimits
from storage.policy import Limit
from storage.store import Store
from testing.empty_databases import make_tables
from tests.limit_backends import DAY_S, SECOND, START, Hitting, InRedis, Sql, backend, hit

__all__ = ["backend", "hit"]


def test_a_changed_limit_counts_the_hits_of_the_whole_last_day(hit: Hitting) -> None:
    """Lowered to a short window and raised again: nothing was forgotten meanwhile."""
    per_day, per_second = (Limit(100, DAY_S),), (Limit(1000, 1),)
    for minute in range(60):
        assert hit(per_day, START + minute * 60 * SECOND).admitted
    for minute in range(60, 100):
        assert hit(per_second, START + minute * 60 * SECOND).admitted
    refused = hit(per_day, START + 2 * 3600 * SECOND)
    assert not refused.admitted
    assert refused.wait_s == pytest.approx(22 * 3600, abs=1e-4)


def test_hits_are_kept_for_the_longest_window_that_the_user_ever_had(hit: Hitting) -> None:
    month_s = 30 * DAY_S
    for day in range(40):
        assert hit((Limit(10, 60),), START + day * DAY_S * SECOND, kept_s=month_s).admitted
    told = hit((Limit(100, month_s),), START + 40 * DAY_S * SECOND, kept_s=month_s)
    assert told.standings[0].remaining == 100 - 31


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_longest_window_that_a_user_ever_had_is_known_with_every_key(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else f"sqlite:///{tmp_path}/it.db"
    place = Sql(url)

    def kept_s() -> int:
        return place.database.ask(lambda connection: keys.require(connection, "key")).hits_kept_s

    told = [kept_s()]
    for window_s in (1, 30 * DAY_S, 60, 7 * DAY_S):
        change = partial(users.set_limits, name=place.user, limits=(Limit(5, 60), Limit(5, window_s)))
        place.database.change(change)
        told.append(kept_s())
    assert told == [DAY_S, DAY_S, 30 * DAY_S, 30 * DAY_S, 30 * DAY_S]
    place.close()


@pytest.mark.parametrize("idle_days", [0, 3])
def test_hits_that_are_older_than_what_is_kept_are_forgotten(
    backend: Sql | InRedis, hit: Hitting, idle_days: int
) -> None:
    quick = (Limit(100, 10),)
    for minute in range(100):
        assert hit(quick, START + minute * 60 * SECOND, cost=8).admitted
    assert backend.kept() == 800
    later = START + (1 + idle_days) * DAY_S * SECOND
    for minute in range(150):
        assert hit(quick, later + minute * 60 * SECOND, cost=8).admitted
    assert 1200 <= backend.kept() <= 1200 + 16


def test_a_day_of_hits_is_not_forgotten_in_one_go(backend: Sql | InRedis, hit: Hitting) -> None:
    """A user who comes back: the first request does not pay for deleting all that is old."""
    many = (Limit(100_000, 10),)
    assert hit(many, START, cost=5000).admitted
    assert hit(many, START + 2 * DAY_S * SECOND, cost=16).admitted
    assert backend.kept() > 4500


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_replicas_share_one_count_and_never_wait_in_a_circle(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """Several writers, two users in both orders: all are answered, and each user's limit is exact."""
    url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else f"sqlite:///{tmp_path}/it.db"
    make_tables(url)
    replicas = [Store(url) for _ in range(4)]
    of_user = (Limit(10, 3600),)
    users = []
    for number in range(2):
        new = NewKey(f"{number}@b", of_user, (), f"key{number}", "hash", frozenset(), START, None)
        users.append(replicas[0].database.change(partial(keys.issue, new=new)).user_id)

    async def knock() -> list[tuple[str, bool]]:
        async def one(store: Store, user: str) -> tuple[str, bool]:
            return user, (await store.hit(user, of_user)).admitted

        order = [users, users[::-1]]
        asked = [one(store, user) for _ in range(10) for n, store in enumerate(replicas) for user in order[n % 2]]
        answers = await asyncio.gather(*asked)
        for store in replicas:
            await store.close()
        return answers

    answers = asyncio.run(knock())
    assert len(answers) == 80
    for user in users:
        assert sum(admitted for whose, admitted in answers if whose == user) == 10


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "redis"])
def test_who_only_looks_before_paying_is_not_locked_out_either(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """As a batch does: its look at the limit is refused, so that it never comes to pay."""
    url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else f"sqlite:///{tmp_path}/it.db"
    redis_url = request.getfixturevalue("redis").url if kind == "redis" else None
    place = Sql(url)
    one = (Limit(1, 1),)

    async def come_back() -> list[bool]:
        store = Store(url, redis_url)
        ahead_us = store.now_us() + DAY_S * SECOND
        ahead = HitRequest(place.user, one, 1, lambda: ahead_us)
        if redis_url:
            redis_limits = RedisLimits(redis_url)
            await redis_limits.hit(ahead)
            await redis_limits.close()
        else:
            await store.database.write(limits.hit, ahead)
        told = [(await store.standing(place.user, one, cost=1)).admitted]
        await asyncio.sleep(1.1)
        told.append((await store.standing(place.user, one, cost=1)).admitted)
        await store.close()
        return told

    assert asyncio.run(come_back()) == [False, True]
    place.close()


NO_LIMITS = ("", "5", "5/", "/minute", "0/minute", "-1/minute", "5/week", "5/0s", "5/1.5s", "5 /s")


@pytest.mark.parametrize("text", NO_LIMITS)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="60/minute"):
        Limit.parse(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [("5/second", (5, 1)), ("60/minute", (60, 60)), ("7/hour", (7, 3600)), ("9/day", (9, 86400)), ("7/2s", (7, 2))],
)
def test_limits_are_read_and_written(text: str, limit: tuple[int, int]) -> None:
    assert Limit.parse(text) == Limit(*limit)
    assert str(Limit.parse(text)) == text
