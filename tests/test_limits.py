"""The sliding-window log itself, with a clock of the test's own."""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import keys, limits
from storage.database import Database
from storage.keys import NewKey
from storage.migrate import migrate
from storage.policy import Decision, Limit

SECOND = 1_000_000
START = 1_700_000_000 * SECOND

Hit = Callable[..., Decision]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/it.db"
    migrate(url)
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def user(database: Database) -> str:
    new = NewKey("a@b", None, (Limit(5, 60),), "key", "hash", frozenset(), START, None)
    return database.change(lambda connection: keys.issue(connection, new)).user_id


def hit(database: Database, user: str, of_user: tuple[Limit, ...], at_us: int, cost: int = 1) -> Decision:
    return database.change(lambda connection: limits.hit(connection, user, of_user, at_us, cost))


def test_a_place_is_free_again_when_its_hit_has_left_the_window(database: Database, user: str) -> None:
    two = (Limit(2, 10),)
    assert hit(database, user, two, START).admitted
    assert hit(database, user, two, START + 4 * SECOND).admitted
    refused = hit(database, user, two, START + 6 * SECOND)
    assert not refused.admitted
    assert refused.wait_s == pytest.approx(4, abs=1e-4)
    # At ten seconds sharp both ends still lie in one window.
    assert not hit(database, user, two, START + 10 * SECOND).admitted
    assert hit(database, user, two, START + 10 * SECOND + 1).admitted
    assert not hit(database, user, two, START + 11 * SECOND).admitted


def test_a_refused_request_costs_nothing(database: Database, user: str) -> None:
    one = (Limit(1, 10),)
    assert hit(database, user, one, START).admitted
    for second in range(1, 10):
        assert not hit(database, user, one, START + second * SECOND).admitted
    assert hit(database, user, one, START + 10 * SECOND + 1).admitted


def test_every_limit_must_allow(database: Database, user: str) -> None:
    both = (Limit(2, 1), Limit(3, 60))
    admitted = [hit(database, user, both, START + at * SECOND // 4).admitted for at in range(12)]
    assert admitted == [True, True, False, False, False, True] + [False] * 6
    told = hit(database, user, both, START + 3 * SECOND)
    assert [standing.remaining for standing in told.standings] == [2, 0]
    assert told.wait_s == pytest.approx(57, abs=1e-4)


def test_a_costly_request_is_admitted_whole_or_not_at_all(database: Database, user: str) -> None:
    five = (Limit(5, 10),)
    assert hit(database, user, five, START, cost=2).admitted
    assert hit(database, user, five, START + SECOND, cost=2).admitted
    refused = hit(database, user, five, START + 2 * SECOND, cost=2)
    assert not refused.admitted
    assert refused.standings[0].remaining == 1
    # One of the first two must leave, and both do at once.
    assert refused.wait_s == pytest.approx(8, abs=1e-4)
    assert hit(database, user, five, START + 2 * SECOND).admitted


def test_looking_costs_nothing(database: Database, user: str) -> None:
    one = (Limit(1, 10),)
    for _ in range(3):
        told = database.ask(lambda connection: limits.test(connection, user, one, START))
        assert told.standings[0].remaining == 1
        assert told.standings[0].reset_s == 0
    assert hit(database, user, one, START).admitted


def test_a_clock_that_is_set_back_admits_no_more(database: Database, user: str) -> None:
    one = (Limit(1, 10),)
    assert hit(database, user, one, START).admitted
    for back in (1, 20, 3600):
        assert not hit(database, user, one, START - back * SECOND).admitted


@pytest.mark.parametrize("seed", range(5))
def test_no_window_ever_holds_more_than_the_limit(database: Database, user: str, seed: int) -> None:
    """Against the definition, on random arrivals: admitted exactly where the window before it has room."""
    chance = random.Random(seed)
    both = (Limit(3, 2), Limit(8, 10))
    now, admitted = START, list[int]()
    for _ in range(300):
        now += int(chance.expovariate(2) * SECOND)
        room = all(sum(at >= now - limit.window_s * SECOND for at in admitted) < limit.quota for limit in both)
        decision = hit(database, user, both, now)
        assert decision.admitted == room
        if room:
            admitted.append(now)
        else:
            retry = now + round(decision.wait_s * SECOND)
            assert all(sum(at >= retry - limit.window_s * SECOND for at in admitted) < limit.quota for limit in both)


def test_threads_and_processes_share_one_count(tmp_path: Path, database: Database, user: str) -> None:
    of_user = (Limit(10, 3600),)
    admitted: list[int] = []
    others = [Database(database.url) for _ in range(4)]

    def knock(through: Database) -> None:
        for _ in range(10):
            if hit(through, user, of_user, START).admitted:
                admitted.append(1)

    threads = [threading.Thread(target=knock, args=[through]) for through in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()
    assert len(admitted) == 10


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
