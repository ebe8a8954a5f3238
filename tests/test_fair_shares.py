"""What there is too little of is shared by user: places in the queue, turns to be served, room for uploads."""

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from api.body_limits import PACE_GRACE_S
from inference.fair_queue import FairQueue, FairSlots
from inference.fair_shares import FairShares, total_for
from inference.turn_queue import TurnQueue
from testing.callers import BODY
from testing.photographs import COFFEE
from testing.servers import Server
from testing.waiting import wait_until
from tests.answers import assert_problem

QUEUE = 8
MAX_BODY = 2_000_000
UNLIMITED = ("--limit", "100000/minute")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Server]:
    """A server with few places, whose runner can be made to hang."""
    server = Server(
        tmp_path_factory.mktemp("shares") / "it",
        model_store,
        CLASSIFIER_MAX_QUEUE=str(QUEUE),
        CLASSIFIER_MAX_BODY_BYTES=str(MAX_BODY),
        CLASSIFIER_RUNNER="service",
    )
    server.start()
    yield server
    server.end()


@pytest.fixture
def users(narrow: Server) -> Iterator[list[httpx.Client]]:
    """Clients of two users."""
    keys = [narrow.create_key(f"share{next(_numbers)}@example.org", *UNLIMITED)["key"] for _ in range(2)]
    with narrow.client(keys[0]) as one, narrow.client(keys[1]) as other:
        yield [one, other]


def test_one_user_never_takes_all_places_of_the_queue(narrow: Server, users: list[httpx.Client]) -> None:
    busy, other = users
    [runner] = narrow.workers("ResNetRunner")
    runner.suspend()
    try:
        with ThreadPoolExecutor(4 * QUEUE) as pool:
            flood = [pool.submit(busy.post, "/v1/classify", json=BODY) for _ in range(3 * QUEUE)]
            wait_until(lambda: sum(answer.done() for answer in flood) == 2 * QUEUE, "the flood fills its places")
            waiting = pool.submit(other.post, "/v1/classify", json=BODY)
            time.sleep(0.5)
            assert not waiting.done(), "the other user's image has a place"
            runner.resume()
            assert waiting.result().status_code == 200
            statuses = [answer.result().status_code for answer in flood]
    finally:
        runner.resume()
    assert statuses.count(200) == QUEUE
    assert statuses.count(503) == 2 * QUEUE


class SlowUploads:
    """Uploads of one user to a path that come to a standstill after some bytes."""

    def __init__(self, server: Server, key: str, path: str, number: int, first_bytes: int) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(number)]
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {MAX_BODY}\r\n\r\n"
        )
        senders = [
            threading.Thread(target=one.sendall, args=(head.encode() + b" " * first_bytes,)) for one in self._sockets
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(60)

    def statuses(self) -> list[int]:
        """How each was answered."""
        answered = []
        for one in self._sockets:
            with contextlib.suppress(ConnectionResetError), one.makefile("rb") as answer:
                answered.append(int(answer.readline().split()[1]))
            one.close()
        return answered


def test_slow_uploads_of_one_user_leave_room_for_others_end_soon_and_are_paid(
    narrow: Server, users: list[httpx.Client]
) -> None:
    other = users[1]
    made = narrow.create_key(f"slow{next(_numbers)}@example.org", *UNLIMITED)
    lone_key = narrow.create_key(f"pace{next(_numbers)}@example.org", *UNLIMITED)["key"]
    began = time.monotonic()
    lone = SlowUploads(narrow, lone_key, "/v1/classify", 1, 1000)
    # 25 bodies are all that there is room for.
    slow = SlowUploads(narrow, made["key"], "/v2/classify/batch", 25, MAX_BODY - 1)
    for _ in range(5):
        answer = other.post("/v2/classify", content=COFFEE.read_bytes(), headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
    statuses = slow.statuses()
    assert lone.statuses() == [504]
    # It is ended before the time limit, which is a minute.
    assert PACE_GRACE_S - 1 < time.monotonic() - began < PACE_GRACE_S + 35
    assert set(statuses) == {503, 504}, "one user has no more than a share of the room"
    with narrow.client(made["key"]) as client:
        told = client.get("/v1/usage").json()
        standing = client.get("/v2/limits").json()["policies"][0]
    assert statuses.count(504) <= told["total_requests"] <= len(statuses)
    # Whatever was read is paid; what was refused before a byte of it is not.
    assert 100_000 - len(statuses) <= standing["remaining"] <= 100_000 - statuses.count(504)


def test_a_caller_who_goes_away_gives_the_place_back(narrow: Server, users: list[httpx.Client]) -> None:
    [runner] = narrow.workers("ResNetRunner")

    def has_a_place() -> bool:
        """Come and go; whether it would have been answered in the end."""
        try:
            answer = users[0].post("/v1/classify", json=BODY, timeout=0.3)
        except httpx.TimeoutException:
            return True
        assert_problem(answer, 503)
        return False

    def come_and_go(_number: int) -> None:
        wait_until(has_a_place, "the place of one who went is free again")

    runner.suspend()
    try:
        with ThreadPoolExecutor(QUEUE) as pool:
            list(pool.map(come_and_go, range(3 * QUEUE)))
    finally:
        runner.resume()
    # The server may notice the last one's departure, or the runner's return, a moment later.
    wait_until(
        lambda: users[0].post("/v1/classify", json=BODY).status_code == 200, "the last one's place is free again"
    )


def test_turns_go_round_by_user() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.put(item[0], item)
    taken = [queue.get() for _ in range(4)]
    queue.put("d", "d1")
    assert [*taken, *(queue.get() for _ in range(len(queue)))] == ["a1", "b1", "c1", "a2", "b2", "a3", "d1"]


def test_turns_go_first_to_users_who_have_no_work_under_way() -> None:
    queue: TurnQueue[str] = TurnQueue()
    for item in ("a1", "a2", "a3", "a4", "b1", "b2"):
        queue.put(item[0], item)

    def take() -> str:
        first = queue.peek()
        item = queue.get()
        assert item == first
        queue.begin(item[0])
        return item

    taken = [take(), take()]
    queue.put("c", "c1")
    taken += [take(), take()]
    # Nobody else's work is under way any more when the last item of user b is.
    for _ in range(2):
        queue.end("a")
    taken += [take(), take(), take()]
    assert taken == ["a1", "b1", "c1", "a2", "a3", "b2", "a4"]
    assert not queue


def test_slots_go_round_by_user_and_none_is_lost() -> None:
    async def act() -> list[str]:
        slots, served = FairSlots(1), list[str]()

        async def work(user: str) -> None:
            await slots.acquire(user)
            try:
                served.append(user)
                await asyncio.sleep(0)
            finally:
                slots.release()

        tasks = [asyncio.create_task(work(user)) for user in ("a", "a", "a", "a", "b")]
        await asyncio.sleep(0)
        # One that waits is cancelled, and one that has just been given its slot.
        tasks[3].cancel()
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(work("c"), 60)
        return served

    served = asyncio.run(act())
    assert served[0] == "a"
    assert served[-1] == "c"
    assert served.index("b") <= 2


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 7, 8, 64, 100, 1000])
def test_who_is_alone_can_hold_what_is_promised_and_newcomers_always_find_room(most: int) -> None:
    shares, total = FairShares(), total_for(most)
    for newcomer in range(6):
        user, held = f"user {newcomer}", 0
        while shares.can_take(user, 1, total):
            shares.take(user, 1)
            held += 1
        if newcomer == 0:
            assert held == most
        elif newcomer == 1:
            assert held >= 1
    assert shares.used <= total
    for newcomer in range(6):
        shares.give_back(f"user {newcomer}", shares._held.get(f"user {newcomer}", 0))
    assert (shares.used, dict(shares._held)) == (0, {})
