"""The limits on a body's size and pace and on a request's time, and what becomes of a caller who disconnects."""

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from testing.asgi_exchange import Exchange
from testing.clock import Clock
from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

V1, V2 = "/v1/classify", "/v2/classify"
IMAGE = image_of("green")
BODY = json.dumps({"image": as_base64(IMAGE)}).encode()
# Beyond its first ten seconds a body must come at this many bytes a second.
PACE = 8192


def upload(gateway: InProcessGateway, key: IssuedKey, path: str = V2, **headers: str) -> Exchange:
    return gateway.exchange(path, key, content_type="image/png", **headers)


@pytest.mark.parametrize("path", [V1, V2, "/v2/classify/batch"])
async def test_a_body_that_is_declared_too_large_is_refused_unread(start: Start, path: str) -> None:
    gateway = await start(max_body_bytes=1000)
    key = gateway.new_key()
    answer = await upload(gateway, key, path, content_length="1001").answer()
    assert "1000 bytes" in assert_problem(answer, 413)["detail"]
    # The rest of the body stays unread, so the connection serves no further request.
    assert answer.headers["connection"] == "close"
    assert gateway.usage_rows()[0]["status"] == 413


async def test_a_declared_size_of_any_length_is_too_large(start: Start) -> None:
    gateway = await start(max_body_bytes=1000)
    answer = await upload(gateway, gateway.new_key(), content_length="9" * 5000).answer()
    assert_problem(answer, 413)


async def test_a_body_that_grows_too_large_is_refused_at_that_chunk(start: Start) -> None:
    gateway = await start(max_body_bytes=1000)
    exchange = upload(gateway, gateway.new_key(), transfer_encoding="chunked")
    exchange.send(b"x" * 999)
    await exchange.app_waits()
    exchange.send(b"x")
    await exchange.app_waits()
    assert not exchange.is_over, "a body of exactly the largest size is taken"
    exchange.send(b"x")
    assert_problem(await exchange.answer(), 413)


async def test_a_body_larger_than_it_was_declared_is_refused(start: Start) -> None:
    gateway = await start(max_body_bytes=1000)
    exchange = upload(gateway, gateway.new_key(), content_length="10")
    exchange.send(b"x" * 1001)
    assert_problem(await exchange.answer(), 413)


async def test_a_body_of_the_largest_size_is_classified(start: Start) -> None:
    gateway = await start(max_body_bytes=len(BODY))
    key = gateway.new_key()
    assert (await gateway.request("POST", V1, key, content=BODY)).status_code == 200
    assert_problem(await gateway.request("POST", V1, key, content=BODY + b" "), 413)


async def test_a_body_may_come_in_pieces(gateway: InProcessGateway, key: IssuedKey) -> None:
    exchange = upload(gateway, key)
    for place in range(0, len(IMAGE), 10):
        exchange.send(IMAGE[place : place + 10])
        await exchange.app_waits()
    exchange.send(b"", more=False)
    answer = await exchange.answer()
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["label"] == "green"


async def test_a_body_that_comes_too_slowly_is_ended(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    exchange = upload(gateway, key)
    exchange.send(b"x")
    await exchange.app_waits()
    clock.advance(8)
    exchange.send(b"x")
    await exchange.app_waits()
    assert not exchange.is_over
    clock.advance(3)
    answer = await exchange.answer()
    assert f"less than {PACE} bytes a second" in assert_problem(answer, 504)["detail"]
    assert answer.headers["connection"] == "close"
    [row] = gateway.usage_rows()
    assert (row["status"], row["images"]) == (504, 1)


async def test_a_body_that_keeps_the_pace_is_not(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    exchange = upload(gateway, key)
    for _ in range(5):
        exchange.send(b"x" * 9 * PACE)
        await exchange.app_waits()
        clock.advance(9)
    assert not exchange.is_over
    exchange.send(b"x", more=False)
    assert_problem(await exchange.answer(), 400)


async def test_a_request_that_takes_too_long_is_504(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    with gateway.runner.engine.held():
        exchange = upload(gateway, key)
        exchange.send(IMAGE, more=False)
        await gateway.runner.asked(1)
        clock.advance(59)
        await exchange.app_waits()
        assert not exchange.is_over
        clock.advance(2)
        answer = await exchange.answer()
    assert "60 s" in assert_problem(answer, 504)["detail"]
    assert gateway.usage_rows()[0]["status"] == 504
    assert gateway.classifier.queue.waiting == 0


async def test_a_caller_who_disconnects_in_its_body_gets_no_classification(
    gateway: InProcessGateway, key: IssuedKey
) -> None:
    exchange = upload(gateway, key)
    exchange.send(IMAGE[:20])
    exchange.disconnect()
    assert_problem(await exchange.answer(), 400)
    assert gateway.runner.engine.batches == []
    assert gateway.usage_rows()[0]["status"] == 400


async def test_a_caller_who_disconnects_after_its_body_gives_its_place_back(
    gateway: InProcessGateway, key: IssuedKey, clock: Clock
) -> None:
    with gateway.runner.engine.held():
        exchange = upload(gateway, key)
        exchange.send(IMAGE, more=False)
        await gateway.runner.asked(1)
        assert gateway.classifier.queue.waiting == 1
        # The service looks for a disconnect only where an answer takes longer than usual.
        clock.advance(1)
        await exchange.app_waits()
        exchange.disconnect()
        assert_problem(await exchange.answer(), 400)
        assert gateway.classifier.queue.waiting == 0
    [row] = gateway.usage_rows()
    assert (row["status"], row["images"]) == (400, 1), "the image was taken, so it is paid"


async def test_the_uploads_of_one_user_leave_room_for_others(start: Start) -> None:
    gateway = await start(max_body_bytes=1000)
    key, other = gateway.new_key(), gateway.new_key(email="other@example.org")
    exchanges = []
    # Of 25 bodies of the largest size a user may hold three quarters, less its last one.
    for _ in range(18):
        exchange = upload(gateway, key)
        exchange.send(b"x" * 1000)
        await exchange.app_waits()
        exchanges.append(exchange)
    assert not any(exchange.is_over for exchange in exchanges)
    refused = upload(gateway, key)
    refused.send(b"x" * 1000)
    answer = await refused.answer()
    assert "uploads" in assert_problem(answer, 503)["detail"]
    assert answer.headers["retry-after"] == "1"
    assert (await gateway.request("POST", V1, other, content=BODY)).status_code == 200
    for exchange in exchanges:
        exchange.disconnect()
        assert_problem(await exchange.answer(), 400)
    # (Of the largest size: a small body would fit beside the others.)
    assert (await gateway.request("POST", V1, key, content=BODY.ljust(1000))).status_code == 200


async def test_a_refused_upload_makes_room_before_its_hit_is_committed(start: Start) -> None:
    gateway = await start(max_body_bytes=1000)
    key = gateway.new_key()
    path, kind = "/v2/classify/batch", "application/json"
    exchanges = [gateway.exchange(path, key, content_type=kind) for _ in range(24)]
    for exchange in exchanges:
        exchange.send(b"x" * 750)
        await exchange.app_waits()
    # All that one user may hold is taken. Where no refusal made room for the others, all of them would be refused.
    with closing(sqlite3.connect(gateway.database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        for exchange in exchanges:
            exchange.send(b"x" * 250, more=False)
        answers = asyncio.gather(*(exchange.answer() for exchange in exchanges))
        await asyncio.sleep(0.2)
        assert not answers.done()
    statuses = [answer.status_code for answer in await answers]
    assert (statuses.count(503), statuses.count(400)) == (6, 18)


async def test_a_worker_that_is_told_to_end_shortens_the_time_of_requests(start: Start, clock: Clock) -> None:
    gateway = await start(drain_seconds=5)
    key = gateway.new_key()
    with gateway.runner.engine.held():
        exchange = upload(gateway, key)
        exchange.send(IMAGE, more=False)
        await gateway.runner.asked(1)
        gateway.draining.begin()
        clock.advance(6)
        answer = await exchange.answer()
    assert "about to restart" in assert_problem(answer, 503)["detail"]
    assert answer.headers["retry-after"] == "1"


async def test_a_request_that_begins_while_the_worker_ends_is_answered(start: Start) -> None:
    gateway = await start(drain_seconds=5)
    gateway.draining.begin()
    assert (await gateway.request("POST", V1, gateway.new_key(), content=BODY)).status_code == 200
