"""The promises on limits, the usage log and revocation, held by real servers under concurrent callers and restarts.

`make torture` runs the same in full size (64 callers, 20 s each).
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import make_url

from testing.callers import Bursts, run_callers
from testing.history import Event, LoggedRow, check
from testing.links import Link, Network
from testing.replicas import Replicas
from testing.servers import PROJECT, Server
from testing.store_servers import Postgres, RedisServer

IN_FULL = bool(os.environ.get("TORTURE"))
CALLERS = 64
SECONDS = 20.0 if IN_FULL else 3.0
# All callers at the same moment, again and again, want what few can have; without a pause they only use up the cores.
PAUSE = 0.0 if IN_FULL else Bursts(every_s=0.25)
USERS = 4
LIMITS = [(7, 2.0), (20, 10.0)]
# The third keeps every hit of the run, so that all can be counted afterwards.
OPTIONS = ("--limit", "7/2s", "--limit", "20/10s", "--limit", "1000000/day")
CLOCK_SHIFT_S = 5
# Each replica's own way to each store. (Within one region it is a tenth of that.)
FAR = Network(delay_ms=3, jitter_ms=4, loss=0.01)


@dataclass(frozen=True)
class Arrangement:
    """Servers, and what is different once they have been started again.

    Attributes:
        replicas: the servers.
        changes: environment variables that each server gets for its second start.
    """

    replicas: Replicas
    changes: list[dict[str, str]]

    def restart(self) -> None:
        """Stop all servers, and start them with the changes."""
        self.replicas.stop()
        for server, changed in zip(self.replicas.servers, self.changes, strict=True):
            server.environment.update(changed)
        self.replicas.start()


def one_server(folder: Path, model_store: Path) -> Arrangement:
    """A server of one gateway worker, and then of three."""
    return Arrangement(
        Replicas([Server(folder / "it", model_store)]),
        [{"BENTOML_CONFIG_OPTIONS": "services.ImageClassifier.workers=3"}],
    )


def two_replicas(
    folder: Path, model_store: Path, postgres: Postgres, redis: RedisServer, link: Callable[[str], Link]
) -> Arrangement:
    """Two servers with clocks of their own over the same stores, which are far away after the restart."""
    (folder / "shift").mkdir()
    (folder / "shift" / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    shifted = {"PYTHONPATH": str(folder / "shift"), "CLOCK_SHIFT_S": str(CLOCK_SHIFT_S)}
    database = postgres.new_database()
    stores = {"CLASSIFIER_DATABASE_URL": database, "CLASSIFIER_REDIS_URL": redis.url}

    def far_stores() -> dict[str, str]:
        name = make_url(database).database
        return {
            "CLASSIFIER_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{link(postgres.socket).port}/{name}",
            "CLASSIFIER_REDIS_URL": f"redis://127.0.0.1:{link(redis.socket).port}/0",
        }

    one = Server(folder / "one", model_store, **stores)
    two = Server(folder / "two", model_store, **stores, **shifted)
    return Arrangement(Replicas([one, two], redis), [far_stores(), far_stores()])


SHIFTED_CLOCK = """
import os, time
_shift_s, _time, _time_ns = float(os.environ["CLOCK_SHIFT_S"]), time.time, time.time_ns
time.time = lambda: _time() + _shift_s
time.time_ns = lambda: _time_ns() + int(_shift_s * 1e9)
"""


@pytest.fixture(params=["sqlite-1-gateway-then-3", "postgresql-redis-2-replicas-then-far-away"])
def arrangement(request: pytest.FixtureRequest, tmp_path: Path, model_store: Path) -> Iterator[Arrangement]:
    with ExitStack() as stack:

        def link(target: str) -> Link:
            made = Link(target, FAR)
            stack.callback(made.close)
            return made

        if request.param.startswith("postgresql"):
            postgres, redis = request.getfixturevalue("postgres"), request.getfixturevalue("redis")
            made = two_replicas(tmp_path, model_store, postgres, redis, link)
        else:
            made = one_server(tmp_path, model_store)
        made.replicas.start()
        for server in made.replicas.servers:
            stack.callback(server.end)
        yield made


def test_every_promise_holds_under_concurrent_callers_and_through_a_restart(arrangement: Arrangement) -> None:
    replicas = arrangement.replicas
    keys = [replicas.new_key(f"user{number}@example.org", *OPTIONS) for number in range(USERS)]
    doomed = replicas.new_key("doomed@example.org", "--limit", "1000000/day")
    revoked = {}

    def revoke() -> None:
        assert replicas.servers[0].auth("revoke", doomed.key_id).returncode == 0
        revoked[doomed.key_id] = time.monotonic()

    events = run_callers(replicas.urls, keys, CALLERS, SECONDS, pause_s=PAUSE)
    # Without a pause: a window must hold over the restart too.
    arrangement.restart()
    events += run_callers(replicas.urls, [*keys * 2, doomed], CALLERS, SECONDS, revoke, PAUSE, afterwards_s=2)

    limited = [event for event in events if event.user != doomed.user]
    statuses = {event.status for event in limited}
    assert statuses == {200, 429}, statuses
    assert len([event for event in limited if event.status == 200]) >= USERS * 20
    # An address that goes on with a dead key is told to wait, in the end.
    assert {200, 401} <= {event.status for event in events if event.user == doomed.user} <= {200, 401, 429}
    usage_log, hits = replicas.usage_log(), replicas.hits()
    assert check(limited, LIMITS, [row for row in usage_log if row.user != doomed.user], hits) == []
    assert check([event for event in events if event.user == doomed.user], [], usage_log, hits, revoked) == []


def test_the_clocks_of_the_replicas_do_differ(tmp_path: Path) -> None:
    """The shift above is one that a server's processes see."""
    (tmp_path / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CLOCK_SHIFT_S": str(CLOCK_SHIFT_S)}
    code = "from storage.clock import unix_us; print(unix_us())"
    before_s = time.time()
    said = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, check=True)
    assert before_s < int(said.stdout) / 1e6 - CLOCK_SHIFT_S < time.time()


def event(user: str, at: float, status: int = 200, request_id: str = "", key_id: str = "k") -> Event:
    return Event(user, key_id, at, at + 0.001, status, request_id or f"{user}-{at}")


def rows(events: list[Event]) -> list[LoggedRow]:
    return [LoggedRow(e.request_id or "", e.user, e.status or 0, int(e.status == 200)) for e in events]


def play(admits: Callable[[float], bool]) -> list[Event]:
    """What one caller sees who asks every tenth of a second for ten seconds."""
    return [event("u", at / 10, 200 if admits(at / 10) else 429) for at in range(100)]


def fixed_window(quota: int, window_s: float) -> Callable[[float], bool]:
    """A limiter that is deliberately wrong: it counts anew with every full window of the clock."""
    counts: dict[int, int] = {}

    def admits(at: float) -> bool:
        window = int((at + window_s / 2 + 0.01) // window_s)
        counts[window] = counts.get(window, 0) + 1
        return counts[window] <= quota

    return admits


def sliding_window(quota: int, window_s: float) -> Callable[[float], bool]:
    admitted: list[float] = []

    def admits(at: float) -> bool:
        if sum(time > at - window_s - 0.01 for time in admitted) >= quota:
            return False
        admitted.append(at)
        return True

    return admits


def test_the_checker_catches_a_fixed_window_and_passes_a_sliding_one() -> None:
    for admits, is_broken in ((fixed_window(7, 2), True), (sliding_window(7, 2), False)):
        seen = play(admits)
        hits = {"u": sum(e.status == 200 for e in seen)}
        assert bool(check(seen, [(7, 2.0)], rows(seen), hits)) == is_broken


def test_the_checker_catches_a_lossy_and_a_repeating_log() -> None:
    seen = [event("u", at) for at in range(10)]
    hits = {"u": 10}
    assert check(seen, [], rows(seen), hits) == []
    assert any("no row" in told for told in check(seen, [], rows(seen)[:-1], hits))
    assert any("2 rows" in told for told in check(seen, [], [*rows(seen), rows(seen)[0]], hits))
    wrong_user = [LoggedRow(row.request_id, "other", row.status, row.images) for row in rows(seen)]
    assert check(seen, [], wrong_user, hits) != []


def test_the_checker_catches_a_lost_hit_and_a_late_revocation() -> None:
    seen = [event("u", at) for at in range(10)]
    assert any("hits" in told for told in check(seen, [], rows(seen), {"u": 9}))
    assert check(seen, [], rows(seen), {"u": 10}, {"k": 8.5}) == []
    assert any("revocation" in told for told in check(seen, [], rows(seen), {"u": 10}, {"k": 7.5}))
