"""Errors that are answered before the body was read reach every kind of caller, however large the body is."""

import contextlib
import http.client
import itertools
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.servers import Server, running
from testing.store_servers import Postgres
from testing.waiting import PATIENCE_S
from tests.body_senders import CALLERS, JSON

MB = 1_000_000
IN_FULL = bool(os.environ.get("TORTURE"))
# Up to some 2 MB, what is not read fits into the buffers of the connection.
SIZES_MB = (1, 3, 9, 30, 100) if IN_FULL else (3, 9, 30, 100)


@pytest.fixture(scope="module")
def ways(server: Server) -> dict[str, tuple[str, str, dict[str, str], int]]:
    """Ways to be refused before the body is read: method, path, headers, and the status that it gives."""
    keys = {
        name: {"Authorization": f"Bearer {server.create_key(f'{name}@unread.example', *options)['key']}"}
        for name, options in {
            "full": ("--limit", "1000000/day"),
            "narrow": ("--scope", "usage", "--limit", "1000000/day"),
            "spent": ("--limit", "1/day"),
        }.items()
    }
    httpx.post(f"{server.url}/v1/classify", json={}, headers=keys["spent"])
    json_body, text = {"Content-Type": JSON}, {"Content-Type": "text/html"}
    return {
        "401": ("POST", "/v1/classify", json_body, 401),
        "403": ("POST", "/v1/classify", keys["narrow"] | json_body, 403),
        "404": ("POST", "/nothing", keys["full"] | json_body, 404),
        "405": ("PUT", "/v1/classify", keys["full"] | json_body, 405),
        "413": ("POST", "/v2/classify", keys["full"] | json_body, 413),
        "415": ("POST", "/v2/classify", keys["full"] | text, 415),
        "429": ("POST", "/v1/classify", keys["spent"] | json_body, 429),
    }


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("name", CALLERS)
def test_a_refusal_arrives(
    server: Server, ways: dict[str, tuple[str, str, dict[str, str], int]], name: str, chunked: bool
) -> None:
    if name in ("curl", "node") and shutil.which(name) is None:
        pytest.skip(f"no {name} on this machine")
    for (case, (method, path, headers, status)), size_mb in itertools.product(ways.items(), SIZES_MB):
        # Of a size that is taken the body is read, and then it is another error.
        if case == "413" and size_mb <= 10:
            continue
        # Where a length is declared that is too large, that is told first, though only to callers with a place.
        expected = {status, 413} if size_mb > 10 and case in ("404", "405", "415") else {status}
        # Of the larger ones two ways are enough where there is no time for all of them.
        if size_mb >= 9 and case not in ("401", "413") and not IN_FULL:
            continue
        for _ in range(20 if IN_FULL else 1):
            seen = CALLERS[name](server.url + path, method, headers, size_mb * MB, chunked)
            assert seen in expected, f"{case}, {size_mb} MB"


@pytest.fixture
def without_database(tmp_path: Path, model_store: Path, postgres: Postgres) -> Iterator[tuple[Server, str]]:
    """A server whose database is away, and a key that it would know."""
    with running(tmp_path / "it", model_store, CLASSIFIER_DATABASE_URL=postgres.new_database()) as server:
        key = server.create_key("away@unread.example")["key"]
        postgres.stop()
        try:
            yield server, key
        finally:
            postgres.start()


def test_a_503_arrives(without_database: tuple[Server, str]) -> None:
    server, key = without_database
    headers = {"Content-Type": JSON, "Authorization": f"Bearer {key}"}
    for (name, send), chunked, size_mb in itertools.product(CALLERS.items(), (False, True), SIZES_MB):
        if (name in ("curl", "node") and shutil.which(name) is None) or (size_mb > 30 and not IN_FULL):
            continue
        for _ in range(20 if IN_FULL else 1):
            seen = send(f"{server.url}/v1/classify", "POST", headers, size_mb * MB, chunked)
            assert seen == 503, f"{name}, {size_mb} MB, {'chunked' if chunked else 'length'}"


def test_the_connection_serves_on(server: Server) -> None:
    """Behind a body that was thrown away comes the next request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    for _ in range(3):
        connection.request("POST", "/v1/classify", bytes(3 * MB), {"Content-Type": JSON})
        ours = connection.sock
        answer = connection.getresponse()
        assert (answer.status, answer.will_close) == (401, False)
        answer.read()
        assert connection.sock is ours
    connection.close()


def test_who_waits_for_leave_to_send_gets_the_answer_instead(server: Server) -> None:
    head = f"POST /v1/classify HTTP/1.1\r\nHost: it\r\nExpect: 100-continue\r\nContent-Length: {3 * MB}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as caller:
        caller.sendall(head.encode())
        with caller.makefile("rb") as lines:
            received = lines.read()
    assert received.startswith(b"HTTP/1.1 401")
    assert b"100 Continue" not in received
    # Nobody could tell whether the body still comes.
    assert b"connection: close" in received


@pytest.mark.parametrize("asked", ["100-continue", "100-Continue", "100-continue \t"])
def test_who_gets_leave_sends_and_is_answered(
    server: Server, new_user: Callable[..., dict[str, Any]], asked: str
) -> None:
    key = new_user("--limit", "9/day")["key"]
    head = f"POST /v1/classify HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {key}\r\nExpect: {asked}\r\n"
    head += f"Content-Type: {JSON}\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as caller:
        caller.sendall(head.encode())
        assert caller.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(b"{}")
        answer = caller.recv(4096)
    assert answer.startswith(b"HTTP/1.1 422")
    assert b"connection: close" not in answer


def test_who_neither_sends_nor_leaves_is_let_go(server: Server) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: it\r\nContent-Length: 9000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as caller:
        caller.sendall(head + bytes(1000))
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while caller.recv(65536):
                pass
        # A caller that goes on sending is given 30 s.
        assert 4 < time.monotonic() - began < 30


def test_a_stop_meanwhile_ends_in_time(tmp_path: Path, model_store: Path) -> None:
    with running(tmp_path / "it", model_store) as server:
        head = b"POST /v1/classify HTTP/1.1\r\nHost: it\r\nContent-Length: 900000000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as caller:
            caller.sendall(head)
            assert caller.recv(65536).startswith(b"HTTP/1.1 401")

            def drip() -> None:
                try:
                    while True:
                        caller.sendall(bytes(1000))
                        time.sleep(0.1)
                except OSError:
                    return

            threading.Thread(target=drip, daemon=True).start()
            began = time.monotonic()
            assert server.stop() == 0
            # Without a stop, it would be given 30 s from its answer on.
            assert time.monotonic() - began < 28
