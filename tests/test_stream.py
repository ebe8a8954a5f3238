"""`/v2/stream` on a real server: callers that stall, break off or are cut off, and what the server keeps of it all."""

import asyncio
import base64
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from testing.callers import BODY
from testing.history import Event, check
from testing.servers import Server, running
from testing.waiting import eventually
from tests.stream_callers import answer_of, hits, id_of, new_key, stream, usage_log

pytestmark = pytest.mark.anyio

IMAGE, BAD = base64.b64decode(BODY["image"]), b"no image"
# Most frames are beyond the limit: an answer of the model takes far longer than a refusal.
FRAMES, LIMIT = (1_000, 400) if os.environ.get("TORTURE") else (300, 30)
STREAMS = 100
MAX_BYTES = 200_000
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
