"""`/v2/stream` in process: who may open it, and what each message gets."""

import asyncio

import pytest

from testing.clock import GIVE_UP_AFTER_S, Clock
from testing.colour_model import CONFIDENCE, NAME
from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from tests.fast.conftest import Start
from tests.fast.streaming import BLUE, NOT_PERMITTED, RED, STREAM, frames, opened

pytestmark = pytest.mark.anyio


async def test_each_message_is_answered_as_by_v2_classify_in_order(gateway: InProcessGateway, key: IssuedKey) -> None:
    socket = await opened(gateway, key, "?top_k=1")
    for image in (RED, BLUE, RED):
        socket.send(image)
    answers = [await socket.answer() for _ in range(3)]
    assert [answer["predictions"][0]["label"] for answer in answers] == ["red", "blue", "red"]
    rows = gateway.usage_rows()
    handshake, *messages = rows
    assert (handshake["endpoint"], handshake["method"], handshake["status"], handshake["images"]) == (
        STREAM,
        "GET",
        101,
        0,
    )
    assert answers[1] == {
        "id": messages[1]["request_id"],
        "model": {"name": NAME, "revision": "1", "engine": "openvino", "precision": "f32"},
        "predictions": [{"label": "blue", "class_id": 4, "confidence": CONFIDENCE}],
        "image": {"width": 30, "height": 20, "format": "JPEG"},
    }
    assert [(row["endpoint"], row["status"], row["images"]) for row in messages] == [(STREAM, 200, 1)] * 3
    assert gateway.hits() == 3
    socket.leave()
    await socket.ended()


async def test_a_browser_sends_its_key_as_a_subprotocol(gateway: InProcessGateway, key: IssuedKey) -> None:
    protocol = f"bearer.{key.text}"
    socket = gateway.web_socket(STREAM, protocols=["chat", protocol])
    accepted = await socket.accepted()
    # A browser ends a WebSocket whose answer names none of the subprotocols that it offered.
    assert accepted["subprotocol"] == protocol
    assert (await socket.ask(RED))["predictions"][0]["label"] == "red"
    assert frames(gateway) == [(200, 1)]
    without = gateway.web_socket(STREAM, key)
    assert (await without.accepted())["subprotocol"] is None


@pytest.mark.parametrize("key_sent", [None, "imc_wrong"])
async def test_without_a_valid_key_no_stream_is_opened(gateway: InProcessGateway, key_sent: str | None) -> None:
    for headers, protocols in (
        ({"Authorization": f"Bearer {key_sent}"} if key_sent else {}, ()),
        ({}, (f"bearer.{key_sent}",) if key_sent else ("chat",)),
    ):
        answer = await gateway.web_socket(STREAM, headers=headers, protocols=protocols).refused()
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert gateway.usage_rows() == []


async def test_a_handshake_with_two_keys_is_refused(gateway: InProcessGateway, key: IssuedKey) -> None:
    other, mine = gateway.new_key(), f"bearer.{key.text}"
    for headers, protocols in (
        ({"Authorization": f"Bearer {other.text}"}, [mine]),
        ({"Authorization": "Basic YTpi"}, [mine]),
        ({}, [mine, f"bearer.{other.text}"]),
        ({}, ["bearer.imc_wrong", mine]),
    ):
        answer = await gateway.web_socket(STREAM, headers=headers, protocols=protocols).refused()
        assert "once" in assert_problem(answer, 401)["detail"]
    await gateway.web_socket(STREAM, key, protocols=[mine]).accepted()


async def test_wrong_keys_in_handshakes_are_limited_for_each_address(start: Start) -> None:
    gateway = await start(auth_failure_limit="3/minute")
    key = gateway.new_key()
    statuses = [
        (await gateway.web_socket(STREAM, protocols=["bearer.imc_wrong"], address="192.0.2.9").refused()).status_code
        for _ in range(5)
    ]
    assert statuses == [401, 401, 401, 429, 429]
    await gateway.web_socket(STREAM, key).accepted()


async def test_a_key_without_the_scope_is_403(gateway: InProcessGateway) -> None:
    key = gateway.new_key(scopes=frozenset({"usage"}))
    assert_problem(await gateway.web_socket(STREAM, key).refused(), 403)
    assert [(row["endpoint"], row["status"], row["images"]) for row in gateway.usage_rows()] == [(STREAM, 403, 0)]


@pytest.mark.parametrize(("path", "status"), [("/v1/usage", 405), ("/v2/classify", 405), ("/v2/stream/", 404)])
async def test_no_other_path_has_a_web_socket(
    gateway: InProcessGateway, key: IssuedKey, path: str, status: int
) -> None:
    assert_problem(await gateway.web_socket(path, key).refused(), status)
    assert_problem(await gateway.web_socket(path).refused(), 401)


async def test_a_plain_request_is_told_to_open_a_web_socket(gateway: InProcessGateway, key: IssuedKey) -> None:
    answer = await gateway.request("GET", STREAM, key)
    assert_problem(answer, 426)
    assert answer.headers["upgrade"] == "websocket"
    posted = await gateway.request("POST", STREAM, key, content=RED, headers={"Content-Type": "image/png"})
    assert_problem(posted, 405)
    assert posted.headers["allow"] == "GET"
    assert gateway.hits() == 0


@pytest.mark.parametrize("query", ["?top_k=0", "?top_k=9", "?min_confidence=2"])
async def test_wrong_options_are_told_at_once(gateway: InProcessGateway, key: IssuedKey, query: str) -> None:
    assert_problem(await gateway.web_socket(STREAM + query, key).refused(), 422)


async def test_a_page_of_another_origin_needs_leave(start: Start) -> None:
    gateway = await start(cors_origins="https://shop.example")
    key = gateway.new_key()
    for origin in ("https://other.example", "null", "https://shop.example.evil"):
        assert_problem(await gateway.web_socket(STREAM, key, headers={"Origin": origin}).refused(), 403)
    for origin in ("https://shop.example", "https://testserver"):
        await gateway.web_socket(STREAM, key, headers={"Origin": origin}).accepted()


async def test_an_error_is_a_problem_and_the_stream_goes_on(gateway: InProcessGateway, key: IssuedKey) -> None:
    socket = await opened(gateway, key)
    for message, status in ((b"no image", 400), (b"", 400), ("text", 415), (RED[:40], 400)):
        problem = await socket.ask(message)
        assert problem["status"] == status, problem
        assert problem["request_id"].startswith("req_")
        assert problem["detail"].endswith(".")
    assert "binary" in (await socket.ask("text"))["detail"]
    assert (await socket.ask(RED))["predictions"]
    assert frames(gateway) == [(400, 1), (400, 1), (415, 1), (400, 1), (415, 1), (200, 1)]


async def test_beyond_the_limit_the_answer_is_429_and_costs_nothing(gateway: InProcessGateway, clock: Clock) -> None:
    socket = await opened(gateway, gateway.new_key("2/minute"))
    statuses = [(await socket.ask(RED)).get("status", 200) for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    problem = await socket.ask(RED)
    assert 0 < problem["retry_after"] <= 61
    clock.advance(61)
    assert (await socket.ask(RED))["predictions"]
    assert frames(gateway) == [(200, 1), (200, 1), (429, 0), (429, 0), (429, 0), (200, 1)]
    assert gateway.hits() == 3


async def test_in_overload_the_answer_is_503_and_the_stream_stays(start: Start) -> None:
    gateway = await start(max_queue=1)
    key = gateway.new_key()
    first, second = await opened(gateway, key), await opened(gateway, key)
    with gateway.runner.engine.held():
        first.send(RED)
        await gateway.runner.asked(1)
        problem = await second.ask(RED)
        assert problem["status"] == 503
        assert problem["retry_after"] >= 1
    assert (await first.answer())["predictions"]
    assert (await second.ask(RED))["predictions"]
    assert gateway.hits() == 2


async def test_an_answer_whose_row_cannot_be_written_is_503(gateway: InProcessGateway, key: IssuedKey) -> None:
    socket = await opened(gateway, key)
    with gateway.without_table("usage_log"):
        assert (await socket.ask(RED))["status"] == 503
    assert (await socket.ask(RED))["predictions"]


async def test_a_message_that_is_too_large_is_413(start: Start) -> None:
    gateway = await start(max_body_bytes=1000)
    socket = await opened(gateway, gateway.new_key())
    assert (await socket.ask(b"x" * 1001))["status"] == 413
    assert (await socket.ask(RED))["predictions"]


async def test_a_key_that_is_revoked_while_it_streams_is_refused(gateway: InProcessGateway, key: IssuedKey) -> None:
    socket = await opened(gateway, key)
    assert (await socket.ask(RED))["predictions"]
    gateway.revoke(key)
    async with asyncio.timeout(GIVE_UP_AFTER_S):
        while "predictions" in (answer := await socket.ask(RED)):
            await asyncio.sleep(0.05)
    assert answer["status"] == 401
    assert await socket.closed() == NOT_PERMITTED
