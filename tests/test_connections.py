"""What one caller can do to the connections of others: nothing. Real sockets, against a real server."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from testing.servers import Server
from testing.waiting import PATIENCE_S, wait_until
from tests.answers import assert_problem

HEAD = b"GET /livez HTTP/1.1\r\nHost: it\r\n"
# After the answer, the server closes the connection.
LAST = HEAD + b"Connection: close\r\n"
LAST_POST = b"POST /livez HTTP/1.1\r\nHost: it\r\nConnection: close\r\n"
MOST_HEAD_BYTES = 32 * 1024
MANY = 2_000
ENOUGH_MB = 100
# A worker that does nothing else for so long keeps others out; a busy machine does not.
KEPT_OUT_AFTER_S = 30


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)


def exchange(server: Server, sent: bytes) -> bytes:
    """All that the server answers until it closes the connection."""
    with connect(server) as caller:
        with contextlib.suppress(OSError):
            caller.sendall(sent)
        return read(caller)


def read(caller: socket.socket, waits_s: float = PATIENCE_S) -> bytes:
    caller.settimeout(PATIENCE_S)
    received = b""
    with contextlib.suppress(TimeoutError):
        while piece := caller.recv(65536):
            received += piece
            caller.settimeout(waits_s)
    return received


def assert_told(answer: bytes, status: int) -> None:
    """Check that it is one problem of that status, and the connection's last answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert int(lines[0].split()[1]) == status, answer
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines[1:])]
    assert_problem(httpx.Response(status, headers=headers, content=body), status)
    assert dict(headers)["connection"] == "close"
    assert dict(headers)["x-content-type-options"] == "nosniff"
    json.loads(body)


@pytest.fixture
def others(server: Server) -> Iterator[Callable[[], None]]:
    """Checks that others are served, and that the server has not grown by more than it may."""
    [worker] = server.workers("ImageClassifier")
    rest = worker.memory_info().rss

    def check() -> None:
        for _ in range(5):
            assert httpx.get(f"{server.url}/livez", timeout=KEPT_OUT_AFTER_S).status_code == 200
        assert worker.memory_info().rss - rest < ENOUGH_MB * 1024 * 1024

    check()
    yield check
    check()


def test_headers_within_the_bounds_are_served(server: Server) -> None:
    for sent in (
        LAST + b"X: a\r\n" * 98 + b"\r\n",
        LAST + b"X: " + b"a" * (MOST_HEAD_BYTES - len(LAST) - 7) + b"\r\n\r\n",
        LAST_POST + b"Transfer-Encoding: chunked\r\n\r\n1;name=value\r\nx\r\n0\r\nTrailer: a\r\n\r\n",
        LAST_POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n",
    ):
        assert exchange(server, sent).startswith((b"HTTP/1.1 200", b"HTTP/1.1 405"))


@pytest.mark.parametrize(
    "sent",
    {
        "too many": HEAD + b"X: a\r\n" * 100 + b"\r\n",
        "too many, never complete": HEAD + b"X: a\r\n" * 102,
        "a large one": HEAD + b"X: " + b"a" * MOST_HEAD_BYTES + b"\r\n\r\n",
        "one byte too large": HEAD + b"X: " + b"a" * (MOST_HEAD_BYTES - len(HEAD) - 6) + b"\r\n\r\n",
        "a large one, never complete": HEAD + b"X: " + b"a" * MOST_HEAD_BYTES,
        "a large name": HEAD + b"a" * MOST_HEAD_BYTES,
        "a long path": b"GET /" + b"a" * MOST_HEAD_BYTES + b" HTTP/1.1\r\nHost: it\r\n\r\n",
        "a long path, never complete": b"GET /" + b"a" * MOST_HEAD_BYTES,
        "a long query": b"GET /livez?" + b"a" * MOST_HEAD_BYTES,
        "empty lines": b"\r\n" * MOST_HEAD_BYTES,
        "behind another request's answer": b"",
    }.items(),
    ids=lambda case: case[0],
)
def test_headers_beyond_the_bounds_are_told_at_once(server: Server, sent: tuple[str, bytes]) -> None:
    _, head = sent
    if head:
        return assert_told(exchange(server, head), 431)
    both = exchange(server, HEAD + b"\r\n" + HEAD + b"X: " + b"a" * MOST_HEAD_BYTES)
    assert both.startswith(b"HTTP/1.1 200")
    assert_told(both[both.index(b"HTTP/1.1 431") :], 431)


@pytest.mark.parametrize(
    "chunks",
    [
        b"1;" + b"a" * 2 * MOST_HEAD_BYTES,
        b"1\r\nx\r\n0\r\nX: " + b"a" * 2 * MOST_HEAD_BYTES,
        b"0\r\n" + b"X: a\r\n" * 102,
    ],
    ids=["extension", "large trailer", "many trailers"],
)
def test_what_goes_with_chunks_is_bounded(server: Server, chunks: bytes) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: it\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(server, head + chunks + b"\r\n\r\n" + HEAD + b"\r\n")
    # Whichever came first: the gate's refusal, or the bound's. The request behind it is never run.
    assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 431"))
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_trailer_is_no_header(server: Server, new_user: Callable[..., dict[str, str]]) -> None:
    key = new_user("--limit", "9/day")["key"].encode()
    head = b"POST /v1/classify HTTP/1.1\r\nHost: it\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(server, head + b"0\r\nAuthorization: Bearer " + key + b"\r\n\r\n" + LAST + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 401")


def test_a_flood_of_header_lines_is_told_and_not_kept(server: Server, others: Callable[[], None]) -> None:
    flood = HEAD + b"X-Flood: aaaaaaaaaaaaaaaaaaaa\r\n" * 2_000_000
    answers: list[bytes] = []
    floods = [threading.Thread(target=lambda: answers.append(exchange(server, flood))) for _ in range(4)]
    for thread in floods:
        thread.start()
    others()
    for thread in floods:
        thread.join()
    assert len(answers) == 4
    for answer in answers:
        assert_told(answer, 431)


class Unread:
    """A caller who asks for more than the buffers of a connection hold, and reads nothing of it."""

    def __init__(self, server: Server) -> None:
        [self._worker] = server.workers("ImageClassifier")
        self._caller = socket.socket()
        self._caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._caller.connect(("127.0.0.1", server.port))
        self._ours = self._caller.getsockname()
        self._caller.sendall(b"GET /static_content/swagger-ui-bundle.js HTTP/1.1\r\nHost: it\r\n\r\n" * 8)
        # Under load, a worker takes a moment to accept.
        wait_until(self.is_open, "the worker accepts")

    def is_open(self) -> bool:
        """Whether the worker still has its end of the connection."""
        return any(tuple(seen.raddr) == self._ours for seen in self._worker.net_connections("tcp"))

    def close(self) -> None:
        self._caller.close()


@pytest.fixture(scope="module")
def unread(server: Server) -> Iterator[Unread]:
    """One whose time runs while another test waits too."""
    caller = Unread(server)
    yield caller
    caller.close()


def test_headers_have_ten_seconds_and_silence_before_them_no_longer(
    server: Server, unread: Unread, others: Callable[[], None]
) -> None:
    slow, kept, silent, used = (connect(server) for _ in range(4))
    began = time.monotonic()
    kept.sendall(HEAD + b"\r\n")
    used.sendall(HEAD + b"\r\n")
    for caller in (kept, used):
        assert read(caller, 0.5).startswith(b"HTTP/1.1 200")
    kept.sendall(b"G")
    slow.sendall(HEAD)

    def drip() -> None:
        with contextlib.suppress(OSError):
            while True:
                time.sleep(1)
                slow.sendall(b"X: a\r\n")

    threading.Thread(target=drip, daemon=True).start()
    assert_told(read(slow), 408)
    assert_told(read(kept), 408)
    assert read(silent) == b""
    assert 9.5 < time.monotonic() - began < 45
    # Who has had an answer may send the next request when it likes: clients keep such connections for later.
    used.sendall(HEAD + b"\r\n")
    assert read(used, 0.5).startswith(b"HTTP/1.1 200")
    for caller in (slow, kept, silent, used):
        caller.close()


def test_who_reads_no_answer_is_let_go(unread: Unread, others: Callable[[], None]) -> None:
    wait_until(lambda: not unread.is_open(), "the worker lets go of the connection", looks_every_s=0.5)


@pytest.mark.parametrize("sent", [b"", HEAD, b"POST /v1/classify HTTP/1.1\r\nHost: it\r\nContent-Length: 9\r\n\r\n"])
def test_two_thousand_connections_keep_nobody_out(server: Server, others: Callable[[], None], sent: bytes) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(MANY):
            caller = opened.enter_context(connect(server))
            with contextlib.suppress(OSError):
                caller.sendall(sent)
        others()
        [worker] = server.workers("ImageClassifier")
        # What is cut off is really let go: descriptors are what runs out first.
        assert len(worker.net_connections("tcp")) < 1_300
    others()


@pytest.mark.parametrize("count", [20, 3_000])
def test_requests_in_a_pipeline_are_all_answered_in_turn(
    server: Server, others: Callable[[], None], count: int
) -> None:
    body = b"Content-Length: 5\r\n\r\nabcde"
    with connect(server) as caller:
        pair = HEAD + b"\r\n" + b"POST /nothing HTTP/1.1\r\nHost: it\r\n" + body
        threading.Thread(target=caller.sendall, args=(pair * (count // 2),), daemon=True).start()
        others()
        answers = b""
        caller.settimeout(60)
        while answers.count(b"HTTP/1.1 ") < count:
            piece = caller.recv(1 << 20)
            assert piece, "closed before all were answered"
            answers += piece
    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"401"] * (count // 2)


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0", "foo/2"])
def test_an_upgrade_that_is_not_offered_is_ignored(server: Server, protocol: str) -> None:
    """The body stays the request's, and is never run as another; the next request is the one behind it."""
    smuggled = HEAD + b"\r\n"
    head = f"POST /v1/classify HTTP/1.1\r\nHost: it\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n"
    head += f"HTTP2-Settings: AAMAAABk\r\nContent-Length: {len(smuggled)}\r\n\r\n"
    answer = exchange(server, head.encode() + smuggled + LAST + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 401")
    assert answer.count(b"HTTP/1.1 ") == 2


def test_where_all_are_busy_a_newcomer_is_told(strained: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    key = new_user("--limit", "100000/minute")["key"]
    # Each waits for the rest of a body, which is a request under way.
    head = f"POST /v1/classify HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {key}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    with contextlib.ExitStack() as opened:
        for _ in range(1_001):
            opened.enter_context(connect(strained)).sendall(head.encode())

        def refused() -> bytes:
            answer = exchange(strained, HEAD + b"\r\n")
            return answer if b" 503 " in answer else b""

        told = wait_until(refused, "a newcomer is refused")
        assert_told(told, 503)
        assert b"retry-after: 1\r\n" in told
    strained.wait_until_ready()
