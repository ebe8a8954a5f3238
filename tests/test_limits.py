"""The sliding-window log, tested with a clock that the test sets."""

import asyncio
import random
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import func, select

from storage import keys, limits, users
from storage.database import Database
from storage.keys import NewKey
from storage.limits import HitRequest
from storage.limits_redis import RedisLimits
from storage.migrate import migrate
from storage.models import hits
from storage.policy import Decision, Limit
from storage.store import Store

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
DAY_S = 86400

Hitting = Callable[..., Decision]


class Sql:
    """The limits in a database."""

    def __init__(self, url: str) -> None:
        migrate(url)
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


def test_a_place_is_free_again_when_its_hit_has_left_the_window(hit: Hitting) -> None:
    two = (Limit(2, 10),)
    assert hit(two, START).admitted
    assert hit(two, START + 4 * SECOND).admitted
    refused = hit(two, START + 6 * SECOND)
    assert not refused.admitted
    assert refused.wait_s == pytest.approx(4, abs=1e-4)
    # At ten seconds sharp both ends still lie in one window.
    assert not hit(two, START + 10 * SECOND).admitted
    assert hit(two, START + 10 * SECOND + 1).admitted
    assert not hit(two, START + 11 * SECOND).admitted


def test_a_refused_request_costs_nothing(hit: Hitting) -> None:
    one = (Limit(1, 10),)
    assert hit(one, START).admitted
    for second in range(1, 10):
        assert not hit(one, START + second * SECOND).admitted
    assert hit(one, START + 10 * SECOND + 1).admitted


def test_every_limit_must_allow(hit: Hitting) -> None:
    both = (Limit(2, 1), Limit(3, 60))
    admitted = [hit(both, START + at * SECOND // 4).admitted for at in range(12)]
    assert admitted == [True, True, False, False, False, True] + [False] * 6
    told = hit(both, START + 3 * SECOND)
    assert [standing.remaining for standing in told.standings] == [2, 0]
    assert told.wait_s == pytest.approx(57, abs=1e-4)


def test_a_costly_request_is_admitted_whole_or_not_at_all(hit: Hitting) -> None:
    five = (Limit(5, 10),)
    assert hit(five, START, cost=2).admitted
    assert hit(five, START + SECOND, cost=2).admitted
    refused = hit(five, START + 2 * SECOND, cost=2)
    assert not refused.admitted
    assert refused.standings[0].remaining == 1
    # One of the first two must leave, and both do at once.
    assert refused.wait_s == pytest.approx(8, abs=1e-4)
    assert hit(five, START + 2 * SECOND).admitted


def test_looking_costs_nothing(backend: Sql | InRedis, hit: Hitting) -> None:
    one = (Limit(1, 10),)
    for _ in range(3):
        told = backend.look(one, START)
        assert told.standings[0].remaining == 1
        assert told.standings[0].reset_s == 0
    assert hit(one, START).admitted


def test_a_clock_that_is_set_back_admits_no_more(hit: Hitting) -> None:
    one = (Limit(1, 10),)
    assert hit(one, START).admitted
    for back in (1, 20, 3600):
        assert not hit(one, START - back * SECOND).admitted


def test_a_clock_that_was_a_day_ahead_locks_nobody_out(hit: Hitting) -> None:
    both = (Limit(2, 10), Limit(3, 60))
    ahead = START + DAY_S * SECOND
    assert [hit(both, ahead + second * SECOND).admitted for second in range(3)] == [True, True, False]
    refused = hit(both, START)
    assert not refused.admitted
    assert refused.wait_s == pytest.approx(10, abs=1e-4)
    # Both were made now: the wait ends when it was said to, and neither is counted for less than a window.
    assert hit(both, START + 4 * SECOND).wait_s == pytest.approx(6, abs=1e-4)
    assert not hit(both, START + 10 * SECOND).admitted
    assert hit(both, START + 10 * SECOND + 1).admitted
    assert hit(both, START + 11 * SECOND).wait_s == pytest.approx(49, abs=1e-4)


def test_looking_reads_a_hit_in_the_future_as_now_and_changes_nothing(backend: Sql | InRedis, hit: Hitting) -> None:
    one = (Limit(1, 10),)
    ahead = START + 3600 * SECOND
    assert hit(one, ahead).admitted
    for second in (0, 5):
        [told] = backend.look(one, START + second * SECOND).standings
        assert told.remaining == 0
        assert told.reset_s == pytest.approx(10, abs=1e-4)
    assert hit(one, ahead + SECOND).wait_s == pytest.approx(9, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_clock_that_jumps_admits_what_the_rule_admits(hit: Hitting, seed: int) -> None:
    """Against the rule, on random jumps: a hit in the future was made now, and every wait that is told is enough."""
    chance = random.Random(seed)
    both = (Limit(3, 2), Limit(8, 10))
    now, made = START, list[int]()

    def room(at_us: int, cost: int) -> bool:
        return all(sum(at >= at_us - limit.window_s * SECOND for at in made) + cost <= limit.quota for limit in both)

    for _ in range(200):
        now += int(chance.choice([chance.expovariate(2), chance.uniform(-20, 20)]) * SECOND)
        made = [min(at, now) for at in made]
        cost = chance.choice([1, 1, 1, 2, 3])
        decision = hit(both, now, cost)
        assert decision.admitted == room(now, cost)
        if decision.admitted:
            made += [now] * cost
        else:
            wait_us = round(decision.wait_s * SECOND)
            assert room(now + wait_us, cost)
            assert not room(now + wait_us - 2, cost)
            assert decision.wait_s <= 10 + 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_no_window_ever_holds_more_than_the_limit(hit: Hitting, seed: int) -> None:
    """Against the definition, on random arrivals: admitted exactly where the window before it has room."""
    chance = random.Random(seed)
    both = (Limit(3, 2), Limit(8, 10))
    now, admitted = START, list[int]()
    for _ in range(300):
        now += int(chance.expovariate(2) * SECOND)
        room = all(sum(at >= now - limit.window_s * SECOND for at in admitted) < limit.quota for limit in both)
        decision = hit(both, now)
        assert decision.admitted == room
        if room:
            admitted.append(now)
        else:
            retry = now + round(decision.wait_s * SECOND)
            assert all(sum(at >= retry - limit.window_s * SECOND for at in admitted) < limit.quota for limit in both)


def test_requests_settled_together_are_settled_as_one_after_another(tmp_path: Path) -> None:
    """Two users, several costs: the answers of one transaction, and of a transaction each."""
    chance = random.Random(0)
    of_user = (Limit(4, 2), Limit(12, 20))
    together, apart = Sql(f"sqlite:///{tmp_path}/together.db"), Sql(f"sqlite:///{tmp_path}/apart.db")
    others = {}
    for place in (together, apart):
        new = NewKey("c@d", None, of_user, "other", "hash", frozenset(), START, None)
        others[place] = place.database.change(partial(keys.issue, new=new)).user_id
    now = START
    for _ in range(60):
        now += int(chance.expovariate(1) * SECOND)
        group = [(chance.random() < 0.5, chance.choice([1, 1, 2, 5])) for _ in range(chance.randint(1, 6))]
        asked = {
            place: [
                HitRequest(place.user if mine else others[place], of_user, cost, partial(int, now))
                for mine, cost in group
            ]
            for place in (together, apart)
        }
        at_once = together.database.change(partial(limits.hit, requests=asked[together]))
        in_turn = [apart.database.change(partial(limits.hit, requests=[one]))[0] for one in asked[apart]]
        assert at_once == in_turn
    together.close()
    apart.close()


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
    migrate(url)
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
