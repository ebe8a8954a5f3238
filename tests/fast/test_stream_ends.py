"""`/v2/stream` in process: callers who do not read or leave, when a stream ends, and what is counted."""

import asyncio
import json

import pytest

from api import streams
from testing.clock import Clock
from testing.in_process import InProcessGateway, IssuedKey
from testing.waiting import eventually
from tests.answers import assert_problem
from tests.fast.conftest import Start
from tests.fast.streaming import GOING_AWAY, RED, RESTARTS, STREAM, frames, opened

pytestmark = pytest.mark.anyio


async def test_a_reader_who_stalls_is_paused(gateway: InProcessGateway, key: IssuedKey) -> None:
    socket = await opened(gateway, key)
    socket.stop_reading()
    for _ in range(10):
        socket.send(RED)
    # One is answered, and the next received ahead. No other is looked at until the answer has been read.
    await eventually(lambda: socket.unreceived <= 8, "two messages are received")
    await socket.app_waits_to_send()
    assert socket.unreceived == 8
    assert frames(gateway) == [(200, 1)]
    socket.read_again()
    for _ in range(10):
        assert (await socket.answer())["predictions"]
    assert frames(gateway) == [(200, 1)] * 10


async def test_a_reader_who_never_reads_is_left(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    socket = await opened(gateway, key)
    socket.stop_reading()
    socket.send(RED)
    await socket.app_waits_to_send()
    clock.advance(61)
    await socket.ended()


async def test_a_caller_who_leaves_gives_all_back(start: Start) -> None:
    """The message under way ends, and its row says so."""
    gateway = await start(max_queue=1)
    key = gateway.new_key()
    socket = await opened(gateway, key)
    with gateway.runner.engine.held():
        socket.send(RED)
        await gateway.runner.asked(1)
        socket.leave()
        await socket.ended()
        assert frames(gateway) == [(400, 1)]
        assert gateway.classifier.queue.waiting == 0


async def test_a_silent_stream_is_closed(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    socket = await opened(gateway, key)
    assert (await socket.ask(RED))["predictions"]
    await asyncio.sleep(0.05)
    clock.advance(301)
    assert await socket.closed() == GOING_AWAY


async def test_a_stream_ends_after_an_hour(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    socket = await opened(gateway, key)
    for _ in range(14):
        clock.advance(250)
        assert (await socket.ask(RED))["predictions"]
    clock.advance(250)
    assert await socket.closed() == GOING_AWAY


async def test_a_worker_that_ends_answers_what_is_under_way_then_closes(
    gateway: InProcessGateway, key: IssuedKey
) -> None:
    busy, idle = await opened(gateway, key), await opened(gateway, key)
    with gateway.runner.engine.held():
        busy.send(RED)
        await gateway.runner.asked(1)
        gateway.draining.begin()
        assert await idle.closed() == RESTARTS
    assert (await busy.answer())["predictions"]
    assert await busy.closed() == RESTARTS
    assert frames(gateway) == [(200, 1)]


async def test_the_number_of_streams_is_limited_and_shared(
    gateway: InProcessGateway, key: IssuedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 3)
    open_ones = [await opened(gateway, key) for _ in range(3)]
    refused = await gateway.web_socket(STREAM, key).refused()
    assert "streams" in assert_problem(refused, 503)["detail"]
    await opened(gateway, gateway.new_key(email="other@example.org"))
    for one in open_ones[:2]:
        one.leave()
        await one.ended()
    await opened(gateway, key)


async def test_unanswered_messages_are_limited_in_bytes(start: Start) -> None:
    gateway = await start(max_body_bytes=1000)
    socket = await opened(gateway, gateway.new_key())
    assert socket.holds(1000)
    assert socket.holds(0)
    assert socket.holds(15_000), "three quarters of what 25 of the largest bodies take"
    assert not socket.holds(24_000)
    socket.leave()
    await socket.ended()


async def test_the_log_names_the_route_and_never_the_key(
    gateway: InProcessGateway, key: IssuedKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    socket = gateway.web_socket(f"{STREAM}?key={key.text}", protocols=[f"bearer.{key.text}"])
    await socket.accepted()
    await socket.ask(RED)
    await asyncio.sleep(0)
    lines = [record.getMessage() for record in caplog.records if record.name == "bentoml.access"]
    assert [line.split()[:3] for line in lines] == [["GET", STREAM, "101"], ["POST", STREAM, "200"]]
    assert key.text not in caplog.text


async def test_usage_counts_messages_and_the_handshake(gateway: InProcessGateway, key: IssuedKey) -> None:
    socket = await opened(gateway, key)
    await socket.ask(RED)
    assert (await gateway.request("GET", "/v1/usage", key)).json()["total_requests"] == 1
    [bucket] = (await gateway.request("GET", f"/v2/usage?endpoint={STREAM}", key)).json()["data"]
    assert json.loads(json.dumps(bucket["status"])) == {"1xx": 1, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 0}
    assert bucket["images"] == 1
