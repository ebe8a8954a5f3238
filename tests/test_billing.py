"""The bill of real servers whose workers are killed at chosen moments, in both databases, and while PostgreSQL is away.

`make torture` has 64 callers and kills more often. `tests/fast/test_billing.py` shows what the checker catches.
"""

import asyncio
import itertools
import json
import os
import random
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from socket import MSG_PEEK

import aiohttp
import psutil
import pytest

from storage.reservations import KEPT_S
from testing.billing import Attempt, Left, check_billing
from testing.callers import BODY, Key
from testing.orders import Order, any_order
from testing.replicas import Replicas
from testing.servers import Server, running
from testing.store_servers import Postgres
from testing.waiting import avoid_the_months_end
from tests.raw_sql import RawSql

IN_FULL = bool(os.environ.get("TORTURE"))
QUOTA = 100
CALLERS, TIMES = (64, 3) if IN_FULL else (12, 1)
# So few callers have a user, and send so few orders beside each kill, that every doomed request is admitted: before the
# last of three, callers of one user ask for 7 * 3 * 2 * 2 images at most.
USERS, ORDERS = CALLERS // 6, 2
GIVE_UP_AFTER_S = 90
IMAGE = BODY["image"]


class NotReady(Exception):
    """A worker in the place of one that was killed before does not classify yet."""


class Doomed:
    """A request whose worker is killed at a chosen moment. It has an idempotency key, by which it is found.

    Args:
        server: the server.
        key: the caller's API key.
        order: what is sent.
    """

    def __init__(self, server: Server, key: Key, order: Order) -> None:
        self._server, self._order, self._body = server, order, json.dumps(order.body).encode()
        self._connection = socket.create_connection(("127.0.0.1", server.port), timeout=GIVE_UP_AFTER_S)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(self._body)), **order.headers}
        lines = [f"POST {order.path} HTTP/1.1", "Host: it", f"Authorization: Bearer {key.key}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())

    def kill_while_it_is_read(self) -> None:
        """Kill its worker after it was admitted, before its body has arrived."""
        self._connection.sendall(self._body[:10])
        self._wait_for("SELECT 1 FROM quota_reservations WHERE request_id = '{id}'")
        self._kill()

    def kill_while_it_is_computed(self) -> None:
        """Kill its worker as soon as its whole body was admitted; it may be answered by then."""
        self._connection.sendall(self._body)
        answered = "SELECT 1 FROM usage_log WHERE request_id = '{id}'"
        self._wait_for(f"{answered} UNION SELECT 1 FROM quota_reservations WHERE request_id = '{{id}}'")
        self._kill()

    def kill_when_it_is_billed(self) -> None:
        """Kill its worker once its row is committed. The answer may have been sent: the caller has not read it."""
        self._connection.sendall(self._body)
        self._wait_for("SELECT 1 FROM usage_log WHERE request_id = '{id}'")
        self._kill()

    def close(self) -> None:
        self._connection.close()

    def _wait_for(self, question: str) -> None:
        give_up = time.monotonic() + GIVE_UP_AFTER_S
        mine = f"SELECT request_id FROM idempotency_keys WHERE key = '{self._order.idempotency_key}'"
        with RawSql(self._server.environment["CLASSIFIER_DATABASE_URL"]) as database:
            while not any(database.rows(question.format(id=name)) for [name] in database.rows(mine)):
                if select.select([self._connection], [], [], 0)[0] and b" 503 " in self._connection.recv(20, MSG_PEEK):
                    raise NotReady
                assert time.monotonic() < give_up, "the request did not come so far"
                time.sleep(0.002)

    def _kill(self) -> None:
        port = self._connection.getsockname()[1]
        for worker in self._server.workers("ImageClassifier"):
            with suppress(psutil.NoSuchProcess):
                if any(one.raddr and one.raddr.port == port for one in worker.net_connections("tcp")):
                    worker.kill()
                    worker.wait()
                    return
        raise AssertionError("no worker has the connection")


# With the number of images. A body of several images is read before it is admitted.
MOMENTS = [(Doomed.kill_while_it_is_read, 1), (Doomed.kill_while_it_is_computed, 3), (Doomed.kill_when_it_is_billed, 2)]


class Callers:
    """Callers of several new users, each with a key of its own, and what became of what they sent.

    Args:
        server: the server.
        name: for their addresses and their idempotency keys.

    Attributes:
        attempts: what was sent and received.
        users: one key of each user.
    """

    def __init__(self, server: Server, name: str) -> None:
        self.attempts: list[Attempt] = []
        self._server, self._name = server, name
        self._again: list[tuple[Key, Order]] = []
        self._is_beside_outage = False
        self._chance, self._numbers = random.Random(1), itertools.count(1)
        options = ("--limit", "1000000/day", "--quota", f"{QUOTA}/month")
        emails = [f"{name}-{number % USERS}@example.org" for number in range(CALLERS)]
        self.users = [Key.of(server.create_key(email, *options)) for email in emails[:USERS]]
        others = [Key.of(server.create_key(email)) for email in emails[USERS:]]
        self._keys = [*self.users, *others]

    async def run(self, outage: Callable[[], None] | None = None) -> None:
        """Send orders beside kills at each moment and an outage; then send again what was lost; then use the quotas up.

        Args:
            outage: stops the database, and starts it again.
        """
        timeout, connector = aiohttp.ClientTimeout(total=GIVE_UP_AFTER_S), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self._server.url, timeout=timeout, connector=connector) as self._session:
            for moment, images in MOMENTS:
                order = Order([IMAGE] * images, self._new_name())
                doomed = self._kill(moment, self.users[images % USERS], order)
                await asyncio.gather(doomed, *map(self._send_some, self._keys))
            if outage is not None:
                self._is_beside_outage = True
                await asyncio.gather(asyncio.to_thread(outage), *map(self._send_some, self._keys))
                self._is_beside_outage = False
            await asyncio.gather(*(self._send_until_answered(*one) for one in self._again))
            await asyncio.gather(*map(self._use_up, self._keys))

    async def use_up_one_by_one(self) -> None:
        """Use up what is left of each quota."""
        async with aiohttp.ClientSession(self._server.url) as self._session:
            for key in self.users:
                await self._use_up(key)

    async def _kill(self, moment: Callable[[Doomed], None], key: Key, order: Order) -> None:
        give_up, is_killed = time.monotonic() + GIVE_UP_AFTER_S, False
        while not is_killed:
            assert time.monotonic() < give_up
            doomed = Doomed(self._server, key, order)
            try:
                await asyncio.to_thread(moment, doomed)
                is_killed = True
            except NotReady:
                await asyncio.sleep(0.5)
            finally:
                doomed.close()
        self.attempts.append(order.lost(key.user, key.key_id))
        self._again.append((key, order))

    async def _send_some(self, key: Key) -> None:
        has_keys = self._keys.index(key) % (2 * USERS) >= USERS
        for _ in range(ORDERS):
            order = any_order(self._chance, IMAGE, self._new_name() if has_keys else None, 2)
            if (await self._send(key, order)).status in (None, 409, 503) and has_keys:
                self._again.append((key, order))

    async def _send_until_answered(self, key: Key, order: Order) -> None:
        give_up = time.monotonic() + GIVE_UP_AFTER_S
        while (await self._send(key, order)).status in (None, 409, 503):
            assert time.monotonic() < give_up
            await asyncio.sleep(0.5)

    async def _use_up(self, key: Key) -> None:
        give_up = time.monotonic() + GIVE_UP_AFTER_S
        while not (await self._send(key, Order([IMAGE]))).is_beyond_quota:
            assert time.monotonic() < give_up

    async def _send(self, key: Key, order: Order) -> Attempt:
        attempt = await self._attempt(key, order)
        self.attempts.append(replace(attempt, is_beside_outage=self._is_beside_outage))
        return self.attempts[-1]

    async def _attempt(self, key: Key, order: Order) -> Attempt:
        headers = {**order.headers, "Authorization": f"Bearer {key.key}"}
        content, answer = b"", None
        try:
            async with self._session.post(order.path, json=order.body, headers=headers) as answer:
                async for chunk in answer.content.iter_any():
                    content += chunk
        except (aiohttp.ClientError, TimeoutError, OSError):
            if answer is None or not order.in_lines:
                return order.lost(key.user, key.key_id)
            return order.answered(key.user, key.key_id, answer.status, answer.headers, content, is_whole=False)
        return order.answered(key.user, key.key_id, answer.status, answer.headers, content)

    def _new_name(self) -> str:
        return f"{self._name}-{next(self._numbers)}"


@pytest.fixture(autouse=True)
def in_one_month() -> None:
    avoid_the_months_end(1200 if IN_FULL else 300)


@pytest.fixture(params=["sqlite", "postgresql"])
def postgres_or_none(request: pytest.FixtureRequest) -> Postgres | None:
    """The database server; None: the database is SQLite's, which can't be away."""
    return request.getfixturevalue("postgres") if request.param == "postgresql" else None


@pytest.fixture
def server(postgres_or_none: Postgres | None, tmp_path: Path, model_store: Path) -> Iterator[Server]:
    settings = {"BENTOML_CONFIG_OPTIONS": "services.ImageClassifier.workers=2"}
    if postgres_or_none is not None:
        settings["CLASSIFIER_DATABASE_URL"] = postgres_or_none.new_database()
    with running(tmp_path / "it", model_store, **settings) as server:
        yield server


def outage_of(postgres: Postgres) -> None:
    """Stop the database in the middle of its work, and start it again."""
    time.sleep(0.1)
    postgres.stop()
    postgres.start()


def mistakes(callers: Callers, server: Server, is_settled: bool, refused: Sequence[int] = ()) -> list[str]:
    left = {}
    for key in callers.users:
        with server.client(key.key) as client:
            policies = client.get("/v2/limits").json()["policies"]
        [of_quota] = [policy["remaining"] for policy in policies if policy["name"] == "quota"]
        left[key.user] = Left(of_quota, is_settled, tuple(refused))
    rows = [row for row in Replicas([server]).usage_log() if row.user in left]
    return check_billing(callers.attempts, rows, QUOTA, left)


def test_killed_workers_bill_every_answered_image_once_and_keep_the_quota_exact(
    server: Server, postgres_or_none: Postgres | None
) -> None:
    outage = None if postgres_or_none is None else partial(outage_of, postgres_or_none)
    for number in range(TIMES):
        callers = Callers(server, f"round-{number}")
        asyncio.run(callers.run(outage))
        assert {attempt.status for attempt in callers.attempts} <= {None, 200, 400, 409, 429, 503}
        assert any(attempt.is_replayed for attempt in callers.attempts)
        assert mistakes(callers, server, is_settled=False) == []
        with RawSql(server.environment["CLASSIFIER_DATABASE_URL"]) as database:
            # As if the requests of killed workers had died five minutes ago.
            assert database.rows("SELECT count(*) FROM quota_reservations") != [(0,)]
            database.change(f"UPDATE quota_reservations SET at_us = at_us - {KEPT_S * 1_000_000}")
        asyncio.run(callers.use_up_one_by_one())
        assert mistakes(callers, server, is_settled=True, refused=[1]) == []
    assert sum(row.billable for row in Replicas([server]).usage_log()) == TIMES * USERS * QUOTA
    assert server.auth("reconcile").returncode == 0
