"""Callers that send slowly, lie about lengths, go away, or name places that the server should fetch from."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from testing.callers import BODY
from testing.photographs import COFFEE, as_base64, encoded
from testing.servers import Server
from testing.waiting import PATIENCE_S, wait_until
from tests.answers import assert_problem
from tests.error_rows import wrap
from tests.test_errors import CLASSIFY, TIME_LIMIT_S, narrow

__all__ = ["narrow"]


@pytest.fixture(scope="module")
def key(narrow: Server) -> str:
    return str(narrow.create_key("hostile@example.org", "--limit", "100000/minute")["key"])


@contextlib.contextmanager
def connection(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as opened:
        yield opened


def head(key: str, *headers: str, path: str = "/v2/classify", kind: str = "image/png") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", f"Content-Type: {kind}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def read_all(opened: socket.socket) -> bytes:
    received = b""
    # The server closes with bytes unread, which resets the connection.
    with contextlib.suppress(ConnectionResetError):
        while chunk := opened.recv(65536):
            received += chunk
    return received


def assert_alive(server: Server, key: str) -> None:
    with server.client(key) as client:
        answer = client.post("/v2/classify", content=COFFEE.read_bytes(), headers={"Content-Type": "image/png"})
        assert answer.status_code == 200


def test_a_slow_sender_is_told_504_and_cut_off(narrow: Server, key: str) -> None:
    with ThreadPoolExecutor(len(CLASSIFY)) as pool:
        for received, took_s in pool.map(partial(send_slowly, narrow, key), CLASSIFY):
            assert took_s > TIME_LIMIT_S - 0.2
            assert received.startswith(b"HTTP/1.1 504")
            # Not the one of a body that comes too slowly, which is due a little later.
            assert f"time limit of {TIME_LIMIT_S:g} s".encode() in received
            assert b"application/problem+json" in received
            assert b"RateLimit:" in received.replace(b"ratelimit:", b"RateLimit:")


def send_slowly(narrow: Server, key: str, path: str) -> tuple[bytes, float]:
    """All that is answered to an upload that does not end, and the seconds until then."""
    kind = "image/png" if path == "/v2/classify" else "application/json"
    with connection(narrow) as opened:
        began = time.monotonic()
        opened.sendall(head(key, "Content-Length: 900000", path=path, kind=kind))

        def drip() -> None:
            with contextlib.suppress(OSError):
                while True:
                    opened.sendall(b" ")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        return read_all(opened), time.monotonic() - began


def test_a_length_that_is_too_large_is_refused_before_a_byte_is_sent(narrow: Server, key: str) -> None:
    for declared in ("99999999", "9" * 30):
        with connection(narrow) as opened:
            opened.sendall(head(key, f"Content-Length: {declared}"))
            received = read_all(opened)
        # More digits than a length has are no HTTP.
        assert received.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))
        assert b"application/problem+json" in received


def test_more_than_was_declared_is_not_read(narrow: Server, key: str) -> None:
    with connection(narrow) as opened:
        opened.sendall(head(key, "Content-Length: 5", "Connection: close") + b"BM" + b"x" * 100_000)
        received = read_all(opened)
    assert received.startswith(b"HTTP/1.1 400")
    assert_alive(narrow, key)


def test_callers_that_go_away_leave_nothing_behind(narrow: Server, key: str) -> None:
    photo = COFFEE.read_bytes()
    for sent in (0, 10, len(photo) // 2, len(photo)):
        for _ in range(10):
            with connection(narrow) as opened:
                opened.sendall(head(key, f"Content-Length: {len(photo)}") + photo[:sent])
    with connection(narrow) as opened:
        opened.sendall(head(key, "Transfer-Encoding: chunked") + b"5\r\nhello\r\nnot a chunk")
    # Whole uploads of those who went are still classified; then their places are free again.
    with narrow.client(key) as client:
        wait_until(lambda: client.post("/v2/classify", json=BODY).status_code != 503, "a place is free")
        statuses = [client.post("/v2/classify", json=BODY).status_code for _ in range(10)]
    assert statuses == [200] * 10
    log = narrow.log.read_text()
    assert "Traceback" not in log


class Listener:
    """A port that notes who connects."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.connected = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._socket.accept()[0].close()
                self.connected += 1

    def close(self) -> None:
        self._socket.close()


def test_no_url_of_a_caller_is_fetched_and_no_file_opened(narrow: Server, key: str, tmp_path: Path) -> None:
    listener, bait = Listener(), tmp_path / "bait.png"
    bait.write_bytes(COFFEE.read_bytes())
    read_before = bait.stat().st_atime_ns
    os.utime(bait, ns=(read_before - 10**12, bait.stat().st_mtime_ns))
    untouched = bait.stat().st_atime_ns
    http = f"http://127.0.0.1:{listener.port}/photo.png"
    with narrow.client(key) as client:
        for named in (http, f"file://{bait}", str(bait), f"data:image/png;base64,{http}", f"data:,{http}"):
            for path in CLASSIFY:
                answer = client.post(path, **wrap(path, named))
                if path.endswith("batch"):
                    [entry] = answer.json()["results"]
                    assert entry["error"]["status"] == 400
                else:
                    assert_problem(answer, 400)
            for path in CLASSIFY[1:]:
                as_text: dict[str, Any] = {"files": {"image": (None, named)}}
                answer = client.post(path, **as_text)
                assert answer.status_code == (200 if path.endswith("batch") else 400)
                assert "predictions" not in answer.text
                as_file: dict[str, Any] = {"files": {"image": (named, named.encode(), "message/external-body")}}
                answer = client.post(path, **as_file)
                assert answer.status_code == (200 if path.endswith("batch") else 400)
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{http}"/></svg>'
        assert_problem(client.post("/v2/classify", json={"image": as_base64(svg.encode())}), 400)
    assert listener.connected == 0
    assert bait.stat().st_atime_ns == untouched
    httpx_sees_it = contextlib.suppress(httpx.TransportError)
    with httpx_sees_it:
        httpx.get(http)
    wait_until(lambda: listener.connected == 1, "the listener would have noticed")
    listener.close()


def test_damaged_uploads_leave_no_memory_behind(narrow: Server, key: str) -> None:
    [worker] = narrow.workers("ImageClassifier")
    damaged = as_base64(encoded(Image.new("RGB", (400, 400)), "BMP")[:400_000])
    with narrow.client(key) as client:
        for number in range(100):
            if number == 20:
                before = worker.memory_info().rss
            assert_problem(client.post("/v1/classify", json={"image": damaged}), 400)
    # Each would leave its half a megabyte, and the base64 of it.
    assert worker.memory_info().rss - before < 20_000_000
