"""`POST /v2/classify/batch` in JSON lines: a line for each image as soon as it is done, each on the usage log."""

import json
from typing import Any

import httpx
import pytest

from testing.asgi_exchange import Exchange
from testing.clock import Clock
from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from testing.waiting import eventually
from tests.answers import assert_problem
from tests.fast.conftest import Start
from web.problem import unavailable

pytestmark = pytest.mark.anyio

BATCH = "/v2/classify/batch"
LINES = "application/x-ndjson"
COLOURS = ("red", "blue", "green", "white")
IMAGES = [as_base64(image_of(colour)) for colour in COLOURS]
BAD = as_base64(b"no image")


async def ask(gateway: InProcessGateway, key: IssuedKey, images: list[str], **headers: str) -> httpx.Response:
    return await gateway.request("POST", BATCH, key, json={"images": images}, headers={"Accept": LINES, **headers})


def begin(gateway: InProcessGateway, key: IssuedKey, images: list[str]) -> Exchange:
    exchange = gateway.exchange(BATCH, key, accept=LINES, content_type="application/json")
    exchange.send(json.dumps({"images": images}).encode(), more=False)
    return exchange


def lines_of(text: str) -> list[dict[str, Any]]:
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def rows(gateway: InProcessGateway) -> list[tuple[str, int, int]]:
    """What follows the request's id in the id of each row, with its status and its images."""
    found = gateway.usage_rows()
    own = min((row["request_id"] for row in found), key=len)
    return sorted((row["request_id"].removeprefix(own), row["status"], row["images"]) for row in found)


async def test_there_is_a_line_for_each_image_with_its_entry(gateway: InProcessGateway, key: IssuedKey) -> None:
    plain = await gateway.request("POST", f"{BATCH}?top_k=2", key, json={"images": [*IMAGES, BAD]})
    answer = await gateway.request(
        "POST", f"{BATCH}?top_k=2", key, json={"images": [*IMAGES, BAD]}, headers={"Accept": LINES}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == LINES
    assert answer.headers["ratelimit"]
    assert answer.headers["server-timing"].startswith("queue;dur=")
    found = sorted(lines_of(answer.text), key=lambda line: line["index"])
    assert found == [{"index": number, **entry} for number, entry in enumerate(plain.json()["results"])]
    assert found[4]["error"]["status"] == 400


async def test_each_line_has_a_row_of_its_own(gateway: InProcessGateway, key: IssuedKey) -> None:
    answer = await ask(gateway, key, [*IMAGES, BAD])
    assert rows(gateway) == [("", 200, 0), *((f".{number}", 200, 1) for number in range(4)), (".4", 400, 1)]
    assert {row["endpoint"] for row in gateway.usage_rows()} == {BATCH}
    assert min((row["request_id"] for row in gateway.usage_rows()), key=len) == answer.headers["x-request-id"]
    assert gateway.hits() == 5
    usage = (await gateway.request("GET", "/v1/usage", key)).json()
    assert (usage["total_requests"], usage["successful_requests"]) == (5, 4)


async def test_a_line_leaves_when_its_image_is_done_and_on_the_log(gateway: InProcessGateway, key: IssuedKey) -> None:
    with gateway.runner.engine.held():
        exchange = begin(gateway, key, [IMAGES[0], BAD])
        [start, line] = [await exchange.message(), await exchange.message()]
        assert start["status"] == 200
        assert json.loads(line["body"])["index"] == 1, "the other image is still being computed"
        assert [(row["request_id"][-2:], row["status"]) for row in gateway.usage_rows()] == [(".1", 400)]
    line = await exchange.message()
    assert json.loads(line["body"])["predictions"][0]["label"] == "red"
    assert not (await exchange.message())["body"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/x-ndjson", LINES),
        ("application/json;q=0.5, Application/X-NDJSON", LINES),
        ("*/*", "application/json"),
        ("application/json, application/x-ndjson;q=0.9", "application/json"),
        ("application/x-ndjson;q=0", "application/json"),
        ("application/x-ndjson;q=x", "application/json"),
    ],
)
async def test_the_caller_chooses_by_accept(
    gateway: InProcessGateway, key: IssuedKey, accept: str, media_type: str
) -> None:
    answer = await ask(gateway, key, IMAGES[:1], Accept=accept)
    assert answer.headers["content-type"] == media_type


async def test_what_refuses_the_whole_batch_is_a_problem(start: Start) -> None:
    gateway = await start(max_batch_images=3, max_queue=4)
    key = gateway.new_key("5/minute")
    assert_problem(await ask(gateway, key, IMAGES), 422)
    assert_problem(await gateway.request("POST", BATCH, key, content=b"{", headers={"Accept": LINES}), 400)
    assert (await ask(gateway, key, IMAGES[:2])).status_code == 200
    limited = assert_problem(await ask(gateway, key, IMAGES[:2]), 429)
    assert limited["retry_after"] > 0
    other = gateway.new_key(email="other@example.org")
    with gateway.runner.engine.held():
        waiting = [begin(gateway, other, IMAGES[:3])]
        await gateway.runner.asked(3)
        assert_problem(await ask(gateway, other, IMAGES[:3]), 503)
    await waiting[0].answer()


async def test_a_runner_that_is_gone_is_an_error_of_each_image(gateway: InProcessGateway, key: IssuedKey) -> None:
    gateway.runner.fault = unavailable("The model is restarting; send the request again shortly.")
    found = lines_of((await ask(gateway, key, IMAGES[:2])).text)
    assert [line["error"]["status"] for line in found] == [503, 503]
    assert gateway.hits() == 2


async def test_a_fault_of_the_service_is_an_error_of_each_image(gateway: InProcessGateway, key: IssuedKey) -> None:
    gateway.runner.fault = RuntimeError("/a/secret/path")
    found = lines_of((await ask(gateway, key, IMAGES[:2])).text)
    assert [line["error"]["status"] for line in found] == [500, 500]
    assert "secret" not in json.dumps(found)


async def test_a_line_whose_row_cannot_be_written_is_503(gateway: InProcessGateway, key: IssuedKey) -> None:
    with gateway.runner.engine.held():
        exchange = begin(gateway, key, IMAGES[:1])
        await gateway.runner.asked(1)
        with gateway.without_table("usage_log"):
            gateway.runner.engine.release()
            answer = await exchange.answer()
    [line] = lines_of(answer.text)
    assert (line["index"], line["error"]["status"]) == (0, 503)
    assert "predictions" not in line


async def test_where_the_time_is_up_the_last_line_is_a_problem(
    gateway: InProcessGateway, key: IssuedKey, clock: Clock
) -> None:
    with gateway.runner.engine.held():
        exchange = begin(gateway, key, [IMAGES[0], BAD, IMAGES[1]])
        for _ in range(2):
            await exchange.message()
        clock.advance(61)
        answer = await exchange.answer()
    first, last = lines_of(answer.text)
    assert first["index"] == 1
    assert last["error"]["status"] == 504
    assert last["error"]["request_id"] == answer.headers["x-request-id"]
    # The request's own row holds the images that were paid and have no line.
    assert rows(gateway) == [("", 504, 2), (".1", 400, 1)]
    assert gateway.classifier.queue.waiting == 0


async def test_a_caller_who_leaves_ends_it(gateway: InProcessGateway, key: IssuedKey) -> None:
    with gateway.runner.engine.held():
        exchange = begin(gateway, key, [BAD, *IMAGES])
        for _ in range(2):
            await exchange.message()
        exchange.disconnect()
        await eventually(lambda: exchange.is_over, "the request is over")
    assert rows(gateway) == [("", 400, 4), (".0", 400, 1)]
    assert gateway.classifier.queue.waiting == 0


async def test_a_request_that_may_be_repeated_has_one_row(gateway: InProcessGateway, key: IssuedKey) -> None:
    headers = {"Idempotency-Key": "0b1f6a8e"}
    answer = await ask(gateway, key, IMAGES, **headers)
    assert answer.headers["content-type"] == LINES
    assert [line["index"] for line in lines_of(answer.text)] == [0, 1, 2, 3]
    assert rows(gateway) == [("", 200, 4)]
