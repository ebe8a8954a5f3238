"""Errors that are answered before the body was read reach every kind of caller, however large the body is."""

import contextlib
import http.client
import itertools
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from testing.servers import Server, running
from testing.store_servers import Postgres
from testing.waiting import PATIENCE_S

MB = 1_000_000
IN_FULL = bool(os.environ.get("TORTURE"))
# Up to some 2 MB, what is not read fits into the buffers of the connection.
SIZES_MB = (1, 3, 9, 30, 100) if IN_FULL else (3, 9, 30, 100)
JSON = "application/json"

Send = Callable[[str, str, dict[str, str], int, bool], int]
_NODE = """
const [url, method, headers, size, chunked] = JSON.parse(process.argv[1]);
const body = chunked
  ? new ReadableStream({
      pull(c) { if (this.left === undefined) this.left = size; const n = Math.min(this.left, 65536);
        if (n) { c.enqueue(new Uint8Array(n)); this.left -= n; } else c.close(); } })
  : new Uint8Array(size);
fetch(url, {method, headers, body, duplex: "half"}).then(async answer => {
  await answer.json(); console.log(answer.status);
}).catch(error => { console.error(error); process.exit(1); });
"""


def pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, 65536):
        yield bytes(min(65536, size - start))


def by_http_client(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    host, path = url.removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(
            method, f"/{path}", pieces(size) if chunked else bytes(size), headers, encode_chunked=chunked
        )
        answer = connection.getresponse()
        json.loads(answer.read())
        return answer.status
    finally:
        connection.close()


def by_urllib(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    body = pieces(size) if chunked else bytes(size)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            json.loads(error.read())
            return error.code


def by_requests(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    body = pieces(size) if chunked else bytes(size)
    with requests.request(method, url, data=body, headers=headers, timeout=60) as answer:
        answer.json()
        return answer.status_code


def by_httpx(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    answer = httpx.request(method, url, content=pieces(size) if chunked else bytes(size), headers=headers, timeout=60)
    answer.json()
    return answer.status_code


def by_curl(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    fields = [f"{name}: {value}" for name, value in headers.items()]
    command = ["curl", "-sS", "-X", method, "--data-binary", "@-", "-o", "-", "-w", "\n%{http_code}", url]
    fields += ["Transfer-Encoding: chunked"] if chunked else []
    command += [part for field in fields for part in ("-H", field)]
    done = subprocess.run(command, input=bytes(size), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition(b"\n")
    json.loads(body)
    return int(status)


def by_fetch(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    arguments = json.dumps([url, method, headers, size, chunked])
    done = subprocess.run(["node", "-e", _NODE, arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


CALLERS: dict[str, Send] = {
    "http.client": by_http_client,
    "urllib": by_urllib,
    "requests": by_requests,
    "httpx": by_httpx,
    "curl": by_curl,
    "node": by_fetch,
}


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


def test_who_gets_leave_sends_and_is_answered(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    key = new_user("--limit", "9/day")["key"]
    head = f"POST /v1/classify HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {key}\r\nExpect: 100-continue\r\n"
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
