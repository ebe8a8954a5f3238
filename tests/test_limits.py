"""The sliding-window log: what it admits, whatever clocks and callers do."""

import random
from functools import partial
from pathlib import Path

import pytest

from storage import keys, limits
from storage.keys import NewKey
from storage.limits import HitRequest
from storage.policy import Limit
from tests.limit_backends import DAY_S, SECOND, START, Hitting, InRedis, Sql, backend, hit

__all__ = ["backend", "hit"]


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
