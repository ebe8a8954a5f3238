"""Idempotency keys in both databases, with several workers, and with a worker that is killed in between."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from storage import idempotency, keys, usage, users
from storage.idempotency import KEPT_S, LEASE_S, Claim, KeptAnswer, Outcome, Settlement
from storage.keys import NewKey
from storage.policy import Limit
from storage.store import Store
from storage.usage import UsageRow, Withheld
from testing.empty_databases import make_tables
from testing.photographs import COFFEE
from testing.replicas import Replicas
from testing.servers import Server
from testing.waiting import wait_until
from tests.raw_sql import RawSql

T = TypeVar("T")

SECOND = 1_000_000
AT_US = 1_700_000_000 * SECOND
ENDPOINT = "/v2/classify"
ANSWER = KeptAnswer("f" * 64, 200, "[]", b"\x00\xff{}")
IMAGE, CONTENT = COFFEE.read_bytes(), {"Content-Type": "image/png"}
GIVE_UP_AFTER_S = 90


@pytest.fixture(params=["sqlite", "postgresql"])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Store]]:
    """The stores of two workers with one database."""
    is_server = request.param == "postgresql"
    url = request.getfixturevalue("postgres").new_database() if is_server else f"sqlite:///{tmp_path}/it.db"
    make_tables(url)
    made = [Store(url), Store(url)]
    yield made
    for store in made:
        store.database.close()


@pytest.fixture
def store(workers: list[Store]) -> Store:
    return workers[0]


@pytest.fixture
def user(store: Store) -> str:
    new = NewKey("a@b", None, (Limit(1000, 60),), "key", "hash", frozenset(), 0, None)
    return store.database.change(partial(keys.issue, new=new)).user_id


def run(awaitable: Awaitable[T]) -> T:
    async def wait() -> T:
        return await awaitable

    return asyncio.run(wait())


async def claimed_at(store: Store, user: str, key: str, request_id: str, at_us: int) -> tuple[Claim, object]:
    """Claim a key at that time, whatever the clock of the database says."""
    claim = Claim(user, ENDPOINT, key, request_id, lambda: at_us)
    return claim, await store.database.write(idempotency.claim, claim)


def row(claim: Claim, answer: KeptAnswer | None, status: int = 200) -> UsageRow:
    settlement = Settlement(claim, answer)
    made = UsageRow(claim.request_id, claim.user_id, "key", ENDPOINT, "POST", status, 5.0, AT_US, 1)
    return made._replace(settlement=settlement)


def test_an_answer_is_kept_with_its_usage_row(workers: list[Store], user: str) -> None:
    async def use() -> None:
        one, other = workers
        claim, outcome = await one.claim(user, ENDPOINT, "k", "req_1")
        assert outcome is Outcome.HELD
        assert (await other.claim(user, ENDPOINT, "k", "req_2"))[1] is Outcome.UNDER_WAY
        assert (await other.claim(user, "/v1/classify", "k", "req_3"))[1] is Outcome.HELD
        assert await one.record(row(claim, ANSWER)) is None
        assert (await other.claim(user, ENDPOINT, "k", "req_4"))[1] == ANSWER

    run(use())
    assert workers[0].database.ask(usage.count) == 1


def test_a_request_without_an_answer_frees_its_key(store: Store, user: str) -> None:
    async def use() -> None:
        claim, _ = await store.claim(user, ENDPOINT, "k", "req_1")
        assert await store.record(row(claim, None, status=503)) is None
        assert (await store.claim(user, ENDPOINT, "k", "req_2"))[1] is Outcome.HELD

    run(use())


def test_of_many_claims_at_once_one_holds_the_key(workers: list[Store], user: str) -> None:
    async def use() -> list[tuple[Claim, object]]:
        claims = [workers[number % 2].claim(user, ENDPOINT, f"k{number % 3}", f"req_{number}") for number in range(60)]
        return await asyncio.gather(*claims)

    outcomes = run(use())
    held = sorted(claim.key for claim, outcome in outcomes if outcome is Outcome.HELD)
    assert held == ["k0", "k1", "k2"]
    assert {outcome for _, outcome in outcomes} == {Outcome.HELD, Outcome.UNDER_WAY}


def test_a_lease_ends_unless_it_is_renewed(store: Store, user: str) -> None:
    async def use() -> None:
        await claimed_at(store, user, "k", "req_1", AT_US)
        late = AT_US + LEASE_S * SECOND - 1
        assert (await claimed_at(store, user, "k", "req_2", late))[1] is Outcome.UNDER_WAY
        renewed = Claim(user, ENDPOINT, "k", "req_1", lambda: late)
        await store.database.write(idempotency.renew, renewed)
        assert (await claimed_at(store, user, "k", "req_3", late + LEASE_S * SECOND - 1))[1] is Outcome.UNDER_WAY
        # A request that does not hold the key renews nothing.
        await store.database.write(idempotency.renew, renewed._replace(request_id="req_3", clock_us=lambda: late * 2))
        assert (await claimed_at(store, user, "k", "req_4", late + LEASE_S * SECOND))[1] is Outcome.HELD

    run(use())


def test_a_request_that_lost_its_key_is_not_answered(store: Store, user: str) -> None:
    """Its row says so; the rows that are committed together with it are not concerned."""

    async def use() -> None:
        lost, _ = await claimed_at(store, user, "k", "req_1", AT_US)
        taken, outcome = await claimed_at(store, user, "k", "req_2", AT_US + LEASE_S * SECOND)
        assert outcome is Outcome.HELD
        plain = row(taken, None)._replace(request_id="req_3", settlement=None)
        given = await asyncio.gather(*map(store.record, (row(lost, ANSWER), plain, row(taken, ANSWER))))
        assert given == [Withheld.KEY_LOST, None, None]
        # Nor does it free the key of the other.
        assert await store.record(row(lost, None)._replace(request_id="req_5")) is None
        assert (await claimed_at(store, user, "k", "req_4", AT_US + LEASE_S * SECOND))[1] == ANSWER

    run(use())
    log = store.database.ask(
        lambda connection: connection.exec_driver_sql("SELECT request_id, status FROM usage_log ORDER BY 1").all()
    )
    assert [tuple(found) for found in log] == [("req_1", 409), ("req_2", 200), ("req_3", 200), ("req_5", 200)]


def test_answers_are_forgotten_after_their_time_and_beyond_a_number(store: Store, user: str) -> None:
    ages_s = {"day": KEPT_S + 1, "new": 0, "newer": 0, "newest": 0}
    now_us = store.now_us()

    async def use() -> None:
        for number, (key, age_s) in enumerate(ages_s.items()):
            at_us = now_us - age_s * SECOND + number
            claim, _ = await claimed_at(store, user, key, f"req_{key}", at_us)
            await store.record(row(claim, ANSWER))
        await store.claim(user, ENDPOINT, "under-way", "req_under_way")
        await claimed_at(store, user, "dead", "req_dead", now_us - KEPT_S * SECOND)
        while await store.forget_answers(most_per_user=3):
            pass

    run(use())
    left = store.database.ask(
        lambda connection: connection.exec_driver_sql("SELECT key FROM idempotency_keys ORDER BY 1").scalars().all()
    )
    assert left == ["newer", "newest", "under-way"]


def test_erasing_a_user_forgets_the_answers(store: Store, user: str) -> None:
    async def use() -> None:
        claim, _ = await store.claim(user, ENDPOINT, "k", "req_1")
        await store.record(row(claim, ANSWER))

    run(use())
    store.database.change(lambda connection: users.erase(connection, user, AT_US))
    assert store.database.ask(idempotency.count) == 0


def classify(client: httpx.Client, key: str) -> httpx.Response:
    """Send an image, again and again while a request with this key is under way or no worker is there."""

    def answer() -> httpx.Response | None:
        with contextlib.suppress(httpx.TransportError):
            found = client.post(ENDPOINT, content=IMAGE, headers={**CONTENT, "Idempotency-Key": key})
            return found if found.status_code not in (409, 503) else None
        return None

    found = wait_until(answer, f"an answer for {key}", patience_s=GIVE_UP_AFTER_S, looks_every_s=0.5)
    assert found is not None
    return found


def begun(server: Server, key: str, idempotency_key: str, share: float) -> socket.socket:
    """Send the headers of a request and a share of its body; return the connection, from which nothing is read."""
    headers = CONTENT | {"Idempotency-Key": idempotency_key, "Authorization": f"Bearer {key}"}
    lines = [f"POST {ENDPOINT} HTTP/1.1", "Host: it", f"Content-Length: {len(IMAGE)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + IMAGE[: int(share * len(IMAGE))])
    return connection


def wait_until_there(database: RawSql, key: str, is_answered: bool) -> None:
    """Return once the key is held, or has its answer."""
    answered = "NOT NULL" if is_answered else "NULL"
    question = f"SELECT key FROM idempotency_keys WHERE key = '{key}' AND status IS {answered}"
    wait_until(lambda: database.rows(question), f"the row of {key}", patience_s=GIVE_UP_AFTER_S)


def test_a_killed_worker_bills_nothing_twice(strained: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    """It is killed with one answer received, one sent and not received, and one request under way."""
    server, made = strained, new_user("--limit", "1000/minute")
    key = made["key"]
    with server.client(key) as client, RawSql(server.environment["CLASSIFIER_DATABASE_URL"]) as database:
        received = classify(client, "received")
        with begun(server, key, "sent", 1.0), begun(server, key, "under-way", 0.5):
            wait_until_there(database, "sent", is_answered=True)
            wait_until_there(database, "under-way", is_answered=False)
            [worker] = server.workers("ImageClassifier")
            worker.kill()
            worker.wait()
        again = {name: classify(client, name) for name in ("received", "sent", "under-way")}
    assert [answer.status_code for answer in again.values()] == [200] * 3
    assert [answer.headers.get("idempotency-replayed") for answer in again.values()] == ["true", "true", None]
    assert again["received"].content == received.content
    replicas = Replicas([server])
    log = [logged for logged in replicas.usage_log() if logged.user == made["user_id"]]
    billed = [logged for logged in log if logged.status == 200 and logged.images]
    assert [logged.images for logged in billed] == [1] * 3
    assert {answer.json()["id"] for answer in again.values()} == {logged.request_id for logged in billed}
    # The request that was under way had spent its hit, as without a key.
    assert replicas.hits()[made["user_id"]] == 3 + 1
