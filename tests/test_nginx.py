"""Two real servers behind the nginx of `deploy/`: strangers' uploads, early answers, restarts, a replica's death."""

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from testing.callers import BODY, Key, run_callers
from testing.history import Event, check
from testing.replicas import Replicas
from testing.servers import Server
from testing.store_servers import Postgres, RedisServer
from testing.waiting import PATIENCE_S, wait_until
from tests.answers import assert_problem
from tests.proxies import NGINX, Nginx

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx here")

UNLIMITED = ("--limit", "1000000/day")
STRANGERS = 27
MEGABYTE = 1_000_000
TIME_LIMIT_S = 12
ROUNDS = 2 if os.environ.get("TORTURE") else 1
CALLERS = 8
# Of each caller after each answer: requests are under way all the time, and processes that start have the cores.
PAUSE_S = 0.1


class Behind(Replicas):
    """Two servers over PostgreSQL and Redis, and nginx before them."""

    def __init__(self, folder: Path, model_store: Path, postgres: Postgres, redis: RedisServer) -> None:
        settings = {
            "CLASSIFIER_DATABASE_URL": postgres.new_database(),
            "CLASSIFIER_REDIS_URL": redis.url,
            "CLASSIFIER_TRUSTED_PROXIES": "127.0.0.1/32",
            "CLASSIFIER_LOG_FORMAT": "json",
            "BENTOML_CONFIG_OPTIONS": f"services.ImageClassifier.traffic.timeout={TIME_LIMIT_S}",
        }
        super().__init__([Server(folder / name, model_store, **settings) for name in ("one", "two")], redis)
        self.start()
        self.nginx = Nginx(folder / "nginx", [server.port for server in self.servers])

    def answered_ids(self) -> Counter[str]:
        """How often a request of each id was answered by a replica, as their logs have it."""
        lines = [line for server in self.servers for line in server.log.read_text().splitlines() if "{" in line]
        return Counter(str(json.loads(line[line.index("{") :]).get("request_id")) for line in lines)


@pytest.fixture(scope="module")
def behind(
    tmp_path_factory: pytest.TempPathFactory, model_store: Path, postgres: Postgres, redis: RedisServer
) -> Iterator[Behind]:
    running = Behind(tmp_path_factory.mktemp("behind"), model_store, postgres, redis)
    yield running
    running.nginx.close()
    for server in running.servers:
        server.end()


@contextlib.contextmanager
def uploading(behind: Behind, size: int, key: str = "") -> Iterator[socket.socket]:
    """A connection on which an upload of that size was begun."""
    with socket.create_connection(("127.0.0.1", behind.nginx.port), timeout=PATIENCE_S) as connection:
        head = f"POST /v1/classify HTTP/1.1\r\nHost: it\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n"
        head += f"Authorization: Bearer {key}\r\n" if key else ""
        connection.sendall(f"{head}\r\n".encode() + b"{" * 65536)
        yield connection


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(65536).split(b" ", 2)[1])


def test_slow_uploads_of_strangers_cost_nothing(behind: Behind) -> None:
    key = behind.new_key("beside@example.org", *UNLIMITED)
    at_rest_mb = behind.nginx.memory_mb()
    with contextlib.ExitStack() as under_way:
        uploads = [under_way.enter_context(uploading(behind, 10 * MEGABYTE)) for _ in range(STRANGERS)]
        for _ in range(5):
            for upload in uploads:
                upload.sendall(b"{" * 65536)
            headers = {"Authorization": f"Bearer {key.key}"}
            answer = httpx.post(behind.nginx.url + "/v1/classify", headers=headers, json=BODY)
            assert answer.status_code == 200
        assert behind.nginx.files() == []
        assert behind.nginx.memory_mb() - at_rest_mb < 20
        assert [status_of(upload) for upload in uploads] == [401] * STRANGERS


def test_slow_uploads_of_a_user_are_not_written_to_disk(behind: Behind) -> None:
    key = behind.new_key("slow@example.org", *UNLIMITED)
    with contextlib.ExitStack() as under_way:
        uploads = [under_way.enter_context(uploading(behind, 10 * MEGABYTE, key.key)) for _ in range(10)]
        for upload in uploads:
            upload.sendall(b"{" * 4 * MEGABYTE)
        assert behind.nginx.files() == []
        assert behind.nginx.memory_mb() < 40


def test_an_upload_as_a_whole_has_a_time_limit(behind: Behind) -> None:
    key = behind.new_key("whole@example.org", *UNLIMITED)
    began = time.monotonic()
    with uploading(behind, 10 * MEGABYTE, key.key) as upload:
        upload.settimeout(0.2)
        told = b""
        # Never silent for as long as nginx would bear, and slower than the service bears for much longer.
        while not told and time.monotonic() < began + PATIENCE_S:
            upload.sendall(b"{")
            with contextlib.suppress(TimeoutError):
                told = upload.recv(65536)
        upload.settimeout(PATIENCE_S)
        while told and b"}" not in told:
            told += upload.recv(65536)
    assert told.startswith(b"HTTP/1.1 504 ")
    assert f"time limit of {TIME_LIMIT_S} s".encode() in told
    assert time.monotonic() - began > TIME_LIMIT_S - 0.5


@pytest.mark.parametrize(
    ("size", "with_a_key", "status"),
    [(9 * MEGABYTE, False, 401), (10 * MEGABYTE, False, 401), (11 * MEGABYTE, True, 413), (30 * MEGABYTE, True, 413)],
)
def test_a_refusal_reaches_a_caller_who_sends_first(behind: Behind, size: int, with_a_key: bool, status: int) -> None:
    key = behind.new_key(f"large{size}@example.org", *UNLIMITED)
    headers = {"Authorization": f"Bearer {key.key}"} if with_a_key else {}
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", behind.nginx.port, timeout=PATIENCE_S)
        connection.request("POST", "/v1/classify", bytes(size), {**headers, "Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (status, status)
        connection.close()


def test_a_body_that_says_no_size_is_bounded_too(behind: Behind) -> None:
    key = behind.new_key("chunked@example.org", *UNLIMITED)
    headers = {"Authorization": f"Bearer {key.key}", "Content-Type": "application/json"}
    answer = httpx.post(
        behind.nginx.url + "/v1/classify",
        headers=headers,
        content=(bytes(65536) for _ in range(400)),
    )
    assert_problem(answer, 413)


def meanwhile_events(behind: Behind, key: Key, act: Callable[[], None]) -> list[Event]:
    """What callers see at nginx for as long as something else takes."""
    acting, events = threading.Thread(target=act), list[Event]()
    acting.start()
    while acting.is_alive():
        events += run_callers([behind.nginx.url], [key], CALLERS, 1.0, pause_s=PAUSE_S)
    acting.join()
    return events


def test_a_rolling_restart_under_load_fails_no_request(behind: Behind) -> None:
    key = behind.new_key("rolling@example.org", *UNLIMITED)

    def roll() -> None:
        for server in behind.servers * ROUNDS:
            time.sleep(1)
            assert server.stop() == 0
            server.start()

    events = meanwhile_events(behind, key, roll)
    assert Counter(event.status for event in events).keys() == {200}
    assert check(events, [(1_000_000, 86400.0)], behind.usage_log(), behind.hits()) == []
    for server in behind.servers:
        assert "Traceback" not in server.log.read_text()


def test_what_was_under_way_in_a_replica_that_is_killed_is_not_tried_on_the_other(behind: Behind) -> None:
    key = behind.new_key("killed@example.org", *UNLIMITED)
    statuses, over = dict[str, int](), threading.Event()

    def call(caller: int) -> None:
        with httpx.Client(base_url=behind.nginx.url, timeout=PATIENCE_S) as client:
            number = 0
            while not over.is_set():
                headers = {"Authorization": f"Bearer {key.key}", "X-Request-ID": f"killed-{caller}-{number}"}
                answer = client.post("/v1/classify", headers=headers, json=BODY)
                statuses[answer.headers["x-request-id"]] = answer.status_code
                number += 1

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(statuses) > 10 * CALLERS, "the callers are answered")
    behind.servers[0].kill()
    answered_before = len(statuses)
    wait_until(lambda: len(statuses) > answered_before + 10 * CALLERS, "the callers are answered again")
    over.set()
    for thread in threads:
        thread.join()
    seen = Counter(statuses.values())
    assert seen.keys() <= {200, 503}
    assert 1 <= seen[503] <= CALLERS, "those under way, and no other"
    answered = behind.answered_ids()
    assert {answered[request_id] for request_id, status in statuses.items() if status == 503} == {0}
    assert max(answered[request_id] for request_id in statuses) == 1
    assert seen[200] <= behind.hits()[key.user] <= len(statuses)
    # An answer whose row was committed may have been lost on its way out of the one that was killed.
    rows = Counter(row.status for row in behind.usage_log() if row.user == key.user)
    assert rows.keys() == {200}
    assert seen[200] <= rows[200] <= seen[200] + seen[503]
    behind.servers[0].start()
