"""Wrong keys, counted for each client address before they are looked up, apart from anybody's limits."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from auth.api_key import ApiKey
from auth.failed_logins import FailureLimit, WrongKey
from storage import keys
from storage.clock import unix_us
from storage.errors import StorageUnavailable
from storage.key_record import KeyRecord
from storage.keys import NewKey
from storage.policy import Limit
from storage.store import Store
from testing.empty_databases import make_tables
from testing.servers import Server, running
from testing.waiting import PATIENCE_S
from tests.answers import assert_problem


def wrong(server: Server, address: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ApiKey.generate().reveal()}"}
    if address:
        headers["X-Forwarded-For"] = address
    return httpx.get(f"{server.url}/v1/usage", headers=headers)


def test_an_address_that_goes_on_with_wrong_keys_is_told_to_wait(tmp_path: Path, model_store: Path) -> None:
    with running(tmp_path / "it", model_store, CLASSIFIER_AUTH_FAILURE_LIMIT="5/hour") as server:
        with ThreadPoolExecutor(16) as callers:
            # Whom a stranger claims to speak for changes nothing.
            answers = list(callers.map(lambda number: wrong(server, f"192.0.2.{number}"), range(100)))
        assert Counter(answer.status_code for answer in answers) == {401: 5, 429: 95}
        for refused in answers:
            if refused.status_code == 429:
                assert_problem(refused, 429)
                assert 0 < int(refused.headers["retry-after"]) <= 3600
                assert "ratelimit" not in refused.headers
        # A right key from the same address is as good as ever, also a new one, and no key is no wrong one.
        made = server.create_key("ada@example.org", "--limit", "1000/minute")
        with server.client(made["key"]) as client:
            assert [client.get("/v1/usage").status_code for _ in range(20)] == [200] * 20
            assert httpx.get(f"{server.url}/v1/usage").status_code == 401
            server.auth("revoke", made["key_id"])
            assert client.get("/v1/usage").status_code == 429


def test_a_trusted_proxy_tells_whom_it_speaks_for(tmp_path: Path, model_store: Path) -> None:
    settings = {"CLASSIFIER_AUTH_FAILURE_LIMIT": "1/hour", "CLASSIFIER_TRUSTED_PROXIES": "127.0.0.1/32,10.0.0.0/8"}
    with running(tmp_path / "it", model_store, **settings) as server:
        assert wrong(server, "192.0.2.1").status_code == 401
        assert wrong(server, "192.0.2.1").status_code == 429
        # What stands left of the nearest stranger was written by that stranger.
        assert wrong(server, "192.0.2.7, 192.0.2.1, 10.1.2.3").status_code == 429
        assert wrong(server, "192.0.2.2").status_code == 401
        over_tls = httpx.get(server.url + "/livez", headers={"X-Forwarded-Proto": "https"})
        assert over_tls.headers["strict-transport-security"] == "max-age=31536000"


def scope(peer: str) -> dict[str, object]:
    return {"client": (peer, 1), "headers": []}


def test_the_window_slides_and_memory_is_bounded() -> None:
    now = [0.0]
    failures = FailureLimit(Limit(2, 10), clock_s=lambda: now[0])
    assert [failures.fail(scope("192.0.2.1")) for _ in range(3)] == [0.0, 0.0, 10.0]
    now[0] = 10.1
    assert failures.fail(scope("192.0.2.1")) == 0.0
    for number in range(20_000):
        failures.fail(scope(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
    assert len(failures._addresses) <= 10_000


def test_the_addresses_of_one_64_share_a_limit() -> None:
    failures = FailureLimit(Limit(3, 60), clock_s=lambda: 0.0)
    waits = [failures.fail(scope(f"2001:db8:1:2::{number:x}")) for number in range(1, 6)]
    assert waits == [0.0, 0.0, 0.0, 60.0, 60.0]
    assert failures.fail(scope("2001:db8:1:3::1")) == 0.0
    assert [failures.fail(scope(peer)) for peer in ("192.0.2.1", "::ffff:192.0.2.1")] == [0.0, 0.0]
    assert [failures.fail(scope(peer)) for peer in ("192.0.2.1", "::ffff:192.0.2.1")] == [0.0, 60.0]


class Looking(Store):
    """A store that tells how often a key was looked up, and can be away."""

    looked_up = 0
    is_away = False

    async def find_key(self, key_id: str) -> KeyRecord | None:
        self.looked_up += 1
        if self.is_away:
            await asyncio.sleep(0.01)
            raise StorageUnavailable("away", "away")
        return await super().find_key(key_id)


class Gate:
    """The limit in front of a real store, with a clock of the test's own; every caller has the same address."""

    def __init__(self, url: str, limit: Limit) -> None:
        make_tables(url)
        self.now_s = 0.0
        self.store = Looking(url)
        self.failures = FailureLimit(limit, clock_s=lambda: self.now_s)

    def issue(self) -> ApiKey:
        key = ApiKey.generate()
        new = NewKey("a@b", None, (Limit(5, 60),), key.key_id, key.secret_sha256(), frozenset(), unix_us(), None)
        self.store.database.change(partial(keys.issue, new=new))
        return key

    def revoke(self, key: ApiKey) -> None:
        self.store.database.change(lambda connection: keys.revoke(connection, key.key_id, unix_us()))
        time.sleep(keys.KEY_MEMORY_S)

    async def send(self, key: ApiKey) -> int:
        """The status that the caller would see."""
        try:
            await self.failures.check(scope("192.0.2.1"), key, self.store)
        except WrongKey as wrong:
            return 429 if wrong.wait_s > 0 else 401
        except StorageUnavailable:
            return 503
        return 200

    def send_all(self, *sent: ApiKey) -> Counter[int]:
        """The statuses of all, sent at once."""

        async def gather() -> list[int]:
            return await asyncio.wait_for(asyncio.gather(*map(self.send, sent)), timeout=PATIENCE_S)

        return Counter(asyncio.run(gather()))


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(f"sqlite:///{tmp_path}/it.db", Limit(20, 60))
    yield gate
    gate.store.database.close()


def some_wrong(number: int) -> list[ApiKey]:
    return [ApiKey.generate() for _ in range(number)]


def test_wrong_keys_at_once_are_not_all_looked_up(gate: Gate) -> None:
    assert gate.send_all(*some_wrong(1000)) == {401: 20, 429: 980}
    assert gate.store.looked_up <= 22
    # Nor many copies of one.
    gate.now_s += 100
    assert gate.send_all(*some_wrong(1) * 1000) == {401: 20, 429: 980}
    assert gate.store.looked_up <= 44


def test_an_address_over_its_limit_costs_a_look_up_a_second_at_most(gate: Gate) -> None:
    gate.send_all(*some_wrong(100))
    before = gate.store.looked_up
    for _ in range(16):
        gate.now_s += 0.25
        assert gate.send_all(*some_wrong(10)) == {429: 10}
    assert gate.store.looked_up - before == 4


def test_a_right_key_gets_in_at_the_first_try_where_nobody_else_tries(gate: Gate) -> None:
    gate.send_all(*some_wrong(100))
    right = gate.issue()
    gate.now_s += 2
    assert gate.send_all(right) == {200: 1}
    # And then for as long as it is used, in a crowd too.
    for _ in range(5):
        gate.now_s += 0.1
        assert gate.send_all(*some_wrong(50), *[right] * 50) == {200: 50, 429: 50}


def test_right_keys_at_once_are_no_failures(gate: Gate) -> None:
    """As after a restart of a worker, with everybody behind one address: far more at once than may fail."""
    assert gate.send_all(*[gate.issue() for _ in range(200)]) == {200: 200}
    right = gate.issue()
    assert gate.send_all(*[right] * 200) == {200: 200}
    assert gate.send_all(*some_wrong(21)) == {401: 20, 429: 1}


def test_right_and_wrong_keys_at_once_are_told_apart(gate: Gate) -> None:
    known = [gate.issue() for _ in range(50)]
    assert gate.send_all(*known) == {200: 50}
    mixed = [key for pair in zip(some_wrong(50), known, strict=True) for key in pair]
    assert gate.send_all(*mixed) == {200: 50, 401: 20, 429: 30}


def test_a_known_id_with_another_secret_is_a_wrong_key(gate: Gate) -> None:
    right = gate.issue()
    assert gate.send_all(right) == {200: 1}
    guesses = [ApiKey(right.key_id, ApiKey.generate().secret) for _ in range(100)]
    assert gate.send_all(*guesses) == {401: 20, 429: 80}
    assert gate.send_all(right) == {200: 1}


def test_a_revoked_key_counts_as_a_failure_and_is_forgotten(gate: Gate) -> None:
    right = gate.issue()
    gate.send_all(right, *some_wrong(19))
    gate.revoke(right)
    assert gate.send_all(right) == {401: 1}
    assert gate.send_all(right) == {429: 1}
    before = gate.store.looked_up
    assert gate.send_all(*[right] * 10) == {429: 10}
    assert gate.store.looked_up == before + 1


def test_a_key_is_remembered_for_an_hour(gate: Gate) -> None:
    right = gate.issue()
    gate.send_all(right)
    gate.now_s += 3599
    gate.send_all(*some_wrong(100))
    assert gate.send_all(right) == {200: 1}
    gate.now_s += 3601
    gate.send_all(*some_wrong(100))
    assert gate.send_all(right) == {429: 1}, "others have had this turn, and the next"


def test_what_could_not_be_looked_up_is_no_failure(gate: Gate) -> None:
    gate.store.is_away = True
    assert gate.send_all(*some_wrong(100)) == {503: 100}
    gate.store.is_away = False
    assert gate.send_all(*some_wrong(21)) == {401: 20, 429: 1}


def test_who_gives_up_while_waiting_keeps_nobody_waiting(gate: Gate) -> None:
    right = [gate.issue() for _ in range(60)]

    async def some_give_up() -> list[int]:
        sent = [asyncio.create_task(gate.send(key)) for key in right]
        await asyncio.sleep(0)
        for task in sent[::2]:
            task.cancel()
        answers = await asyncio.wait_for(asyncio.gather(*sent, return_exceptions=True), timeout=PATIENCE_S)
        return [answer for answer in answers if isinstance(answer, int)]

    # Ten of the first twenty gave up while they were looked up: nobody knows whether they were wrong.
    assert asyncio.run(some_give_up()) == [200] * 30
