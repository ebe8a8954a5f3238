"""How a server ends: what is under way is answered, however slowly it comes, and nothing hangs for ever."""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.body_limits import LEAST_BYTES_PER_S
from testing.callers import BODY as SMALL
from testing.photographs import as_base64, crops, encoded
from testing.ports import is_listening
from testing.replicas import Replicas
from testing.servers import ENDS_WITHIN_S, Server
from testing.waiting import PATIENCE_S, wait_until

UPLOADS = 24
# Below the ten seconds after which an upload that stands still is ended anyway (`api/body_limits.py`).
DRAINS_S = 8
A_MINUTE_S = 60
CALLERS = 24
STOPS = 20 if os.environ.get("TORTURE") else 2
# With so many spaces that half of it is at the pace that a server expects for ten seconds.
BODY = json.dumps({"image": as_base64(encoded(crops(1)[0].resize((500, 375)), "JPEG"))}).encode() + b" " * 150_000


class Upload:
    """A request that is sent in two parts, by a caller who takes its time."""

    def __init__(self, server: Server, key: str, body: bytes = BODY) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
        head = f"POST /v1/classify HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._rest = body[len(body) // 2 :]
        self._socket.sendall(head.encode() + body[: len(body) // 2])

    def finish(self) -> None:
        self._socket.sendall(self._rest)

    def drip(self) -> None:
        """Send a byte now and then, until the server has enough of it."""

        def send() -> None:
            with contextlib.suppress(OSError):
                while True:
                    self._socket.sendall(b" ")
                    time.sleep(0.5)

        threading.Thread(target=send, daemon=True).start()

    def answer(self) -> tuple[int, dict[str, object]]:
        """Its status and body; the connection is closed after it."""
        received = b""
        with self._socket, contextlib.suppress(ConnectionResetError):
            while piece := self._socket.recv(65536):
                received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


@pytest.fixture
def ending(tmp_path: Path, model_store: Path) -> Iterator[tuple[Server, str, Replicas]]:
    server = Server(tmp_path / "it", model_store, CLASSIFIER_DRAIN_SECONDS=str(DRAINS_S), CLASSIFIER_LOG_FORMAT="json")
    server.start()
    replicas = Replicas([server])
    try:
        yield server, server.create_key("load@example.org", "--limit", "1000/minute")["key"], replicas
    finally:
        server.end()


def test_a_stop_in_the_middle_of_uploads_answers_every_one(ending: tuple[Server, str, Replicas]) -> None:
    server, key, replicas = ending
    uploads = [Upload(server, key) for _ in range(UPLOADS)]
    time.sleep(0.5)
    never = Upload(server, key, b" " * 2 * A_MINUTE_S * LEAST_BYTES_PER_S)
    never.drip()
    statuses: list[int] = []
    stopping = threading.Thread(target=lambda: statuses.append(server.stop()))
    began = time.monotonic()
    stopping.start()
    wait_until(lambda: not is_listening(server.port), "the server takes no more connections")
    for upload in uploads:
        upload.finish()
    answers = [upload.answer() for upload in uploads]
    assert [status for status, _ in answers] == [200] * UPLOADS
    # One that never comes is not waited for any longer than it was said.
    status, problem = never.answer()
    assert (status, problem["status"]) == (503, 503)
    assert "restart" in str(problem["detail"])
    stopping.join()
    assert statuses == [0]
    # Without the stop, it would have had a minute.
    assert DRAINS_S - 0.5 < time.monotonic() - began < A_MINUTE_S - 10
    assert len(replicas.usage_log()) == UPLOADS + 1
    for line in server.log.read_text().splitlines():
        assert json.loads(line)["level"] in ("INFO", "WARNING"), line


class Callers:
    """Callers who each make a connection for each request, one after the other, and ask nothing a second time."""

    def __init__(self, server: Server, key: str) -> None:
        self.ends: Counter[str] = Counter()
        self._server = server
        self._headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def wait_until_answered(self) -> None:
        """Return once there are more answers than callers."""
        wait_until(lambda: self.ends["200"] > CALLERS, lambda: f"more than one answer each: {self.ends}")

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE_S)
            try:
                connection.connect()
            except OSError as error:
                self.ends[type(error).__name__] += 1
                return
            try:
                connection.request("POST", "/v1/classify", json.dumps(SMALL), self._headers)
                self.ends[str(connection.getresponse().status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.ends[f"connected, then {type(error).__name__}"] += 1
            finally:
                connection.close()


ONE_WORKER: dict[str, str] = {}
TWO_WORKERS = {"BENTOML_CONFIG_OPTIONS": "services.ImageClassifier.workers=2"}
APART = {"CLASSIFIER_RUNNER": "service"}
ONCE, TWICE = [signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]


@pytest.mark.parametrize(
    ("stops", "settings"),
    [
        pytest.param([*[ONCE] * (STOPS - 1), TWICE], ONE_WORKER, id="one worker"),
        pytest.param([[signal.SIGHUP]], TWO_WORKERS, id="two workers, by a terminal that closes"),
        pytest.param([[signal.SIGINT]], APART, id="a runner apart, by Ctrl-C"),
    ],
)
def test_who_got_a_connection_gets_an_answer(
    tmp_path: Path, model_store: Path, stops: list[list[signal.Signals]], settings: dict[str, str]
) -> None:
    """However often and by whichever signals a server is stopped: each stop is the signals that it gets."""
    server = Server(tmp_path / "it", model_store, **settings)
    for number, signals in enumerate(stops):
        server.start()
        key = server.create_key(f"load{number}@example.org", "--limit", "1000000/minute")["key"]
        callers = Callers(server, key)
        callers.wait_until_answered()
        for one in signals:
            # To the whole group, as a terminal and some supervisors do.
            os.killpg(server.pid, one)
            time.sleep(0.5)
        assert server.process.wait(ENDS_WITHIN_S) == 0
        callers.join()
        del callers.ends["200"]
        assert callers.ends == {"ConnectionRefusedError": CALLERS}
    assert "Traceback" not in server.log.read_text()


def test_a_server_under_nohup_goes_on_when_its_terminal_closes(tmp_path: Path, model_store: Path) -> None:
    server = Server(tmp_path / "it", model_store)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        server.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    os.killpg(server.pid, signal.SIGHUP)
    time.sleep(1)
    key = server.create_key("night@example.org")["key"]
    answer = httpx.post(f"{server.url}/v1/classify", json=SMALL, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    server.end()
    assert server.log.read_text().count("Serving ") == 1, "no worker was started again"
