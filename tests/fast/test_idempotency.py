"""`Idempotency-Key`: a retry gets the first answer again, without a hit; what is kept, and what is not."""

import asyncio
from typing import Any

import pytest

from testing.colour_model import NAME
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from tests.answers import assert_problem
from tests.fast.conftest import Start
from tests.fast.idempotent import BLUE, ONE, RED, billed, is_replayed, post

pytestmark = pytest.mark.anyio

DAMAGED: dict[str, Any] = {"json": {"image": "AAAA"}}
# How each classification route is called.
CALLS: dict[str, dict[str, Any]] = {
    "/v1/classify": ONE,
    "/v2/classify": {"content": BLUE, "headers": {"Content-Type": "image/png"}},
    "/v2/classify/batch": {"json": {"images": [as_base64(BLUE), as_base64(RED)]}},
    f"/models/{NAME}": {"content": BLUE},
}


@pytest.mark.parametrize("path", CALLS)
async def test_a_retry_gets_the_same_answer_and_costs_nothing(gateway: InProcessGateway, path: str) -> None:
    key = gateway.new_key("5/minute")
    first = await post(gateway, key, "order-1", path, **CALLS[path])
    hits = gateway.hits()
    again = await post(gateway, key, "order-1", path, **CALLS[path])
    assert (first.status_code, again.status_code) == (200, 200)
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    assert again.content == first.content
    for header in ("content-type", "content-length", "server-timing"):
        assert again.headers[header] == first.headers[header]
    # The request itself is another one, and shows what is left now.
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert again.headers["ratelimit"].startswith(f'"default";r={5 - hits};')
    assert again.headers["ratelimit-policy"] == first.headers["ratelimit-policy"]
    assert gateway.hits() == hits
    assert billed(gateway) == [(200, hits), (200, 0)]
    assert sum(gateway.runner.engine.batches) == hits, "the model computed the images once"


async def test_a_reached_limit_and_a_full_queue_refuse_no_retry(start: Start) -> None:
    gateway = await start(max_queue=1)
    key = gateway.new_key("2/minute")
    first = await post(gateway, key, "order-1")
    with gateway.runner.engine.held():
        waiting = asyncio.create_task(gateway.request("POST", "/v2/classify", key, **ONE))
        await gateway.runner.asked(2)
        again = await post(gateway, key, "order-1")
        assert (again.content, is_replayed(again)) == (first.content, True)
        # What was refused is computed when it is sent again.
        assert_problem(await post(gateway, key, "order-2"), 503)
    assert (await waiting).status_code == 200
    again = await post(gateway, key, "order-1")
    assert (again.content, is_replayed(again)) == (first.content, True)
    assert again.headers["ratelimit"].startswith('"default";r=0;')
    assert_problem(await post(gateway, key, "order-2"), 429)
    gateway.clock.advance(61)
    answer = await post(gateway, key, "order-2")
    assert (answer.status_code, is_replayed(answer)) == (200, False)


async def test_a_bug_is_not_kept(gateway: InProcessGateway, key: IssuedKey) -> None:
    gateway.runner.fault = RuntimeError("out of order")
    assert_problem(await post(gateway, key, "order-1"), 500)
    gateway.runner.fault = None
    answer = await post(gateway, key, "order-1")
    assert (answer.status_code, is_replayed(answer)) == (200, False)


@pytest.mark.parametrize(
    ("status", "call"),
    [
        (400, DAMAGED),
        (422, {"json": {"picture": "AAAA"}}),
        # Answered before the body is read.
        (415, {"content": b"x" * 100_000, "headers": {"Content-Type": "text/plain"}}),
    ],
)
async def test_an_error_in_the_body_is_kept_too(
    gateway: InProcessGateway, key: IssuedKey, status: int, call: dict[str, Any]
) -> None:
    first = await post(gateway, key, "order-1", **call)
    again = await post(gateway, key, "order-1", **call)
    assert_problem(first, status)
    assert again.status_code == status
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    # Its `request_id` is that of the request that was answered, as it stands in the usage log.
    assert again.content == first.content
    assert billed(gateway) == [(status, 1), (status, 0)]


async def test_the_key_is_of_one_user_and_one_route(gateway: InProcessGateway, key: IssuedKey) -> None:
    other = gateway.new_key(email="other@example.org")
    same_user = gateway.new_key()
    await post(gateway, key, "order-1")
    assert not is_replayed(await post(gateway, other, "order-1"))
    assert not is_replayed(await post(gateway, key, "order-1", "/v1/classify"))
    assert is_replayed(await post(gateway, same_user, "order-1"))


async def test_without_its_table_a_request_with_a_key_is_503_and_others_are_answered(
    gateway: InProcessGateway, key: IssuedKey
) -> None:
    with gateway.without_table("idempotency_keys"):
        answer = await post(gateway, key, "order-1")
        assert_problem(answer, 503)
        assert "ratelimit-policy" in answer.headers
        assert (await gateway.request("POST", "/v2/classify", key, **ONE)).status_code == 200
    assert gateway.hits() == 1


async def test_a_large_answer_is_not_kept_but_never_billed_twice(
    gateway: InProcessGateway, key: IssuedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auth.kept_answers.MOST_BYTES", 100)
    assert (await post(gateway, key, "order-1")).status_code == 200
    problem = assert_problem(await post(gateway, key, "order-1"), 422)
    assert problem["field"] == "Idempotency-Key"
    assert "larger than" in problem["detail"]
    assert gateway.hits() == 1


async def test_a_key_without_the_scope_learns_nothing(gateway: InProcessGateway, key: IssuedKey) -> None:
    await post(gateway, key, "order-1")
    reader = gateway.new_key(scopes=frozenset({"usage"}))
    assert_problem(await post(gateway, reader, "order-1"), 403)
    assert_problem(await gateway.request("POST", "/v2/classify", headers={"Idempotency-Key": "order-1"}, **ONE), 401)


async def test_other_routes_ignore_the_header(gateway: InProcessGateway, key: IssuedKey) -> None:
    headers = {"Idempotency-Key": "not a key"}
    for _ in range(2):
        answer = await gateway.request("GET", "/v2/limits", key, headers=headers)
        assert (answer.status_code, is_replayed(answer)) == (200, False)


async def test_without_the_header_no_key_is_asked_for(gateway: InProcessGateway, key: IssuedKey) -> None:
    with gateway.without_table("idempotency_keys"):
        for path, call in CALLS.items():
            assert (await gateway.request("POST", path, key, **call)).status_code == 200
