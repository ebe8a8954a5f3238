"""The handshakes of `/v2/stream` on a real server, and the page about streams."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import httpx
import pytest

from testing.servers import PROJECT, Server
from tests.answers import assert_problem
from tests.stream_callers import new_key, usage_log
from tests.wire import read_answers

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n"


def exchange(server: Server, key: str, headers: dict[str, str], after: bytes = b"") -> list[httpx.Response]:
    lines = {"Host": "it", "Authorization": f"Bearer {key}", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as caller:
        caller.sendall(f"GET /v2/stream HTTP/1.1\r\n{head}\r\n".encode() + after + LIVEZ)
        return read_answers(caller)


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        ({"Sec-WebSocket-Version": "8"}, b""),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, b""),
        ({"Upgrade": "websocket, h2c"}, b""),
        ({"Content-Length": "7"}, b"smuggle"),
        ({"Transfer-Encoding": "chunked"}, b"7\r\nsmuggle\r\n0\r\n\r\n"),
        ({}, b""),
    ],
    ids=["version", "key", "two protocols", "a body", "a chunked body", "nothing, but a request follows at once"],
)
def test_what_is_no_complete_handshake_is_an_ordinary_request(
    server: Server, changed: dict[str, str], body: bytes
) -> None:
    """And what follows it is the next request: nothing of it becomes a frame."""
    key = new_key(server, f"wire{time.monotonic_ns()}")
    for sent, status in ((key.key, 426), ("imc_wrong", 401)):
        refused, alive = exchange(server, sent, {**HANDSHAKE, **changed}, body)
        assert_problem(refused, status)
        assert alive.status_code == 200


def test_the_gate_answers_a_handshake_with_a_problem(server: Server) -> None:
    for headers, status in (({}, 401), ({"Authorization": "Bearer imc_wrong"}, 401)):
        answer = httpx.get(f"{server.url}/v2/stream", headers={**HANDSHAKE, **headers})
        assert_problem(answer, status)


@pytest.mark.parametrize("kind", ["sh", "python"])
def test_the_page_about_streams_works_as_written(server: Server, kind: str) -> None:
    [code] = re.findall(rf"```{kind}\n(.*?)```", (PROJECT / "docs" / "streams.md").read_text("utf-8"), re.DOTALL)
    key = new_key(server, f"page-{kind}")
    command = {"sh": ["sh", "-euc"], "python": [sys.executable, "-c"]}[kind]
    done = subprocess.run(
        [*command, code.replace("127.0.0.1:3000", f"127.0.0.1:{server.port}")],
        cwd=PROJECT,
        env={**os.environ, "KEY": key.key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["predictions"][0]["label"] for answer in answers] == ["espresso"] * 2
    assert [(row.status, row.images) for row in usage_log(server, key)][:2] == [(200, 1)] * 2
