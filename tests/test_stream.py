"""`/v2/stream` on a real server: callers that stall, break off or are cut off, and what the server keeps of it all."""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from testing.callers import BODY, Key
from testing.history import Event, LoggedRow, check
from testing.servers import PROJECT, Server, running
from testing.waiting import eventually
from tests.answers import assert_problem
from tests.wire import read_answers

pytestmark = pytest.mark.anyio

IMAGE, BAD = base64.b64decode(BODY["image"]), b"no image"
# Most frames are beyond the limit: an answer of the model takes far longer than a refusal.
FRAMES, LIMIT = (1_000, 400) if os.environ.get("TORTURE") else (300, 30)
STREAMS = 100
MAX_BYTES = 200_000
WIDE = ("--limit", "1000000/day")
# Closing codes of RFC 6455 and IANA's list.
WRONG, WRONG_TEXT, TOO_LARGE, NOT_PERMITTED, RESTARTS = 1002, 1007, 1009, 1008, 1012
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Server]:
    """A server of its own, since tests kill its worker and stop it."""
    folder = tmp_path_factory.mktemp("stream") / "it"
    with running(folder, model_store, CLASSIFIER_MAX_BODY_BYTES=str(MAX_BYTES)) as server:
        yield server


def new_key(server: Server, name: str, *options: str) -> Key:
    return Key.of(server.create_key(f"{name}@example.org", *(options or WIDE)))


def stream(server: Server, key: Key, query: str = "", **options: Any) -> connect:
    url, headers = f"ws://127.0.0.1:{server.port}/v2/stream{query}", {"Authorization": f"Bearer {key.key}"}
    # A busy machine is slow with a hundred handshakes, and with pongs.
    patient = {"open_timeout": 60, "ping_timeout": 60, **options}
    return connect(url, additional_headers=headers, proxy=None, compression=None, max_size=None, **patient)


async def answer_of(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(60):
        return dict(json.loads(await connection.recv()))


def id_of(answer: dict[str, Any]) -> str:
    return str(answer.get("request_id") or answer["id"])


def usage_log(server: Server, key: Key) -> list[LoggedRow]:
    """The rows of the messages of a user, the oldest first."""
    statement = "SELECT request_id, user_id, status, images FROM usage_log WHERE user_id = ? AND method = 'POST'"
    with closing(sqlite3.connect(server.folder / "classifier.db")) as database:
        return [LoggedRow(*row) for row in database.execute(f"{statement} ORDER BY id", [key.user])]


def hits(server: Server, key: Key) -> int:
    with closing(sqlite3.connect(server.folder / "classifier.db")) as database:
        [(count,)] = database.execute("SELECT count(*) FROM hits WHERE user_id = ?", [key.user]).fetchall()
    return int(count)


async def test_frames_limits_and_rows_are_exact_also_when_the_worker_is_killed(server: Server) -> None:
    key = new_key(server, "exact", "--limit", f"{LIMIT}/day")
    events: list[Event] = []

    def event(sent: float, status: int | None, request_id: str | None) -> Event:
        return Event(key.user, key.key_id, sent, time.monotonic(), status, request_id)

    async def send_share(frames: int) -> None:
        while frames > 0:
            try:
                async with stream(server, key) as connection:
                    for _ in range(frames):
                        sent = time.monotonic()
                        await connection.send(IMAGE)
                        answer = await answer_of(connection)
                        status = answer.get("status", 200)
                        events.append(event(sent, status, id_of(answer)))
                        frames -= 1
                        if len(events) >= LIMIT // 2:
                            half.set()
            except ConnectionClosed:
                events.append(event(sent, None, None))
            except (InvalidHandshake, OSError):
                # The successor of the worker that was killed needs some seconds.
                await asyncio.sleep(0.2)

    half, [worker] = asyncio.Event(), server.workers("ImageClassifier")

    async def kill() -> None:
        await half.wait()
        worker.send_signal(signal.SIGKILL)

    shares = 5
    async with asyncio.timeout(600):
        await asyncio.gather(kill(), *(send_share(FRAMES // shares) for _ in range(shares)))
    rows = usage_log(server, key)
    assert check(events, [(LIMIT, DAY_S)], rows, {key.user: hits(server, key)}) == []
    # Refusals are on the log as well; a frame that was under way when the worker was killed may have cost its hit.
    ids = [one.request_id for one in events if one.request_id]
    assert len({*ids}) == len(ids) == FRAMES
    assert {*ids} <= {row.request_id for row in rows}
    assert {one.status for one in events} == {200, 429, None}
    assert LIMIT - shares <= sum(row.images for row in rows) <= hits(server, key) == LIMIT


async def test_a_reader_who_stalls_is_paused_and_loses_nothing(server: Server) -> None:
    key = new_key(server, "stalls")
    frames = 64
    # Each answer has some 70 KB, and both systems together keep some 3 MB.
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", server.port))
        async with stream(server, key, "?top_k=1000", sock=narrow, max_queue=1) as connection:
            sending = asyncio.create_task(_send_all(connection, [IMAGE] * frames))
            before = -1
            while (logged := len(usage_log(server, key))) != before or logged < 4:
                before = logged
                await asyncio.sleep(1)
            assert logged < frames
            answers = [await answer_of(connection) for _ in range(frames)]
            await sending
    assert all(answer["predictions"] for answer in answers)
    assert [id_of(answer) for answer in answers] == [row.request_id for row in usage_log(server, key)]


async def _send_all(connection: ClientConnection, frames: list[bytes]) -> None:
    for frame in frames:
        await connection.send(frame)


async def test_a_key_revoked_while_it_streams_is_refused_within_a_second(server: Server) -> None:
    key = new_key(server, "revoked")
    async with stream(server, key) as connection:
        await connection.send(BAD)
        assert (await answer_of(connection))["status"] == 400
        assert server.auth("revoke", key.key_id).returncode == 0
        revoked, status = time.monotonic(), 400
        while status == 400:
            sent = time.monotonic()
            await connection.send(BAD)
            status = (await answer_of(connection))["status"]
            assert status != 400 or sent - revoked < 1
        assert status == 401
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == NOT_PERMITTED


def open_streams(server: Server, metrics_key: str) -> float:
    """The number of open WebSockets that `/metrics` tells."""
    with server.client(metrics_key) as client:
        [number] = re.findall(r"^classifier_open_streams (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(number)


async def test_a_hundred_streams_are_served_at_once(server: Server) -> None:
    key, metrics_key = new_key(server, "hundred"), new_key(server, "metrics", "--scope", "metrics").key
    connections = await asyncio.gather(*(stream(server, key) for _ in range(STREAMS)))
    try:
        await asyncio.gather(*(connection.send(BAD) for connection in connections))
        refused = await asyncio.gather(*map(answer_of, connections))
        # Only so many images may wait at once.
        assert {answer["status"] for answer in refused} <= {400, 503}
        for connection in connections[::20]:
            await connection.send(IMAGE)
            assert (await answer_of(connection))["predictions"]
        await eventually(lambda: open_streams(server, metrics_key) == STREAMS, "the metrics tell all streams")
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))
    await eventually(lambda: open_streams(server, metrics_key) == 0, "the metrics tell that no stream is open")
    assert len(usage_log(server, key)) == STREAMS + 5


async def test_what_a_frame_must_not_be_closes_with_a_code(server: Server) -> None:
    key = new_key(server, "frames")
    wrong = {
        TOO_LARGE: b"\x82\xff" + (MAX_BYTES + 1).to_bytes(8, "big") + bytes(4) + bytes(MAX_BYTES + 1),
        WRONG_TEXT: b"\x81\x82" + bytes(4) + b"\xff\xfe",
    }
    for code, frame in wrong.items():
        async with stream(server, key) as connection:
            connection.transport.write(frame)
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code
    async with stream(server, key) as connection:
        # In pieces, with a ping between them.
        await connection.send([IMAGE[:100], IMAGE[100:]])
        assert (await answer_of(connection))["predictions"]
        async with asyncio.timeout(60):
            await (await connection.ping())
        await connection.send(b"x" * MAX_BYTES)
        assert (await answer_of(connection))["status"] == 400
    # Compression is not agreed on, also if it is offered.
    offering = connect(
        f"ws://127.0.0.1:{server.port}/v2/stream?key={key.key}",
        subprotocols=[Subprotocol(f"bearer.{key.key}")],
        proxy=None,
    )
    async with offering as connection:
        assert connection.response is not None
        assert "sec-websocket-extensions" not in connection.response.headers
        assert connection.subprotocol == f"bearer.{key.key}"


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


async def test_a_server_that_stops_answers_what_is_under_way_then_closes(server: Server) -> None:
    """The last test of this server."""
    key = new_key(server, "stops")
    async with stream(server, key) as busy, stream(server, key) as idle:
        await busy.send(IMAGE)
        await busy.send(IMAGE)
        first = await answer_of(busy)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        answers = [first]
        codes = []
        for connection in (busy, idle):
            try:
                while True:
                    answers.append(await answer_of(connection))
            except ConnectionClosed as closed:
                codes.append(closed.rcvd and closed.rcvd.code)
        assert codes == [RESTARTS, RESTARTS]
        assert await stopping == 0
    # The second image was received, and so it was answered.
    assert [id_of(answer) for answer in answers] == [row.request_id for row in usage_log(server, key)]
    assert len(answers) == 2
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "imc_" not in log
