"""`Idempotency-Key`: a retry gets the first answer again, without a hit; of several at once, one is computed."""

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest

from storage.idempotency import KEPT_S, LEASE_S
from testing.clock import GIVE_UP_AFTER_S, Clock
from testing.colour_model import NAME, image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

BLUE, RED = image_of("blue"), image_of("red")
ONE: dict[str, Any] = {"json": {"image": as_base64(BLUE)}}
OTHER: dict[str, Any] = {"json": {"image": as_base64(RED)}}
DAMAGED: dict[str, Any] = {"json": {"image": "AAAA"}}
# How each classification route is called.
CALLS: dict[str, dict[str, Any]] = {
    "/v1/classify": ONE,
    "/v2/classify": {"content": BLUE, "headers": {"Content-Type": "image/png"}},
    "/v2/classify/batch": {"json": {"images": [as_base64(BLUE), as_base64(RED)]}},
    f"/models/{NAME}": {"content": BLUE},
}


async def post(
    gateway: InProcessGateway, key: IssuedKey, idempotency_key: str, path: str = "/v2/classify", **call: Any
) -> httpx.Response:
    headers = {**call.pop("headers", {}), "Idempotency-Key": idempotency_key}
    return await gateway.request("POST", path, key, headers=headers, **(call or ONE))


def is_replayed(answer: httpx.Response) -> bool:
    assert answer.headers.get("idempotency-replayed", "true") == "true"
    return "idempotency-replayed" in answer.headers


def lease_ends_us(gateway: InProcessGateway) -> int:
    """When the only lease ends, Unix microseconds."""
    [lease] = gateway.idempotency_keys()
    return int(lease["expires_us"])


async def lease_ends_after(gateway: InProcessGateway, at_us: int) -> None:
    """Return once the only lease was renewed beyond that time, Unix microseconds."""
    async with asyncio.timeout(GIVE_UP_AFTER_S):
        while lease_ends_us(gateway) <= at_us:
            await asyncio.sleep(0.01)


def billed(gateway: InProcessGateway) -> list[tuple[int, int]]:
    """Status and images of each row of the usage log."""
    return [(row["status"], row["images"]) for row in gateway.usage_rows()]


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


@pytest.mark.parametrize(
    "changed",
    [
        OTHER,
        {**ONE, "path": "/v2/classify?top_k=2"},
        {"content": BLUE, "headers": {"Content-Type": "image/png"}},
        {"content": b""},
    ],
)
async def test_another_body_is_422_and_costs_nothing(
    gateway: InProcessGateway, key: IssuedKey, changed: dict[str, Any]
) -> None:
    await post(gateway, key, "order-1")
    problem = assert_problem(await post(gateway, key, "order-1", **changed), 422)
    assert problem["field"] == "Idempotency-Key"
    assert gateway.hits() == 1
    # The kept answer is still there.
    assert is_replayed(await post(gateway, key, "order-1"))


async def test_a_form_with_a_new_boundary_is_the_same_body(gateway: InProcessGateway, key: IssuedKey) -> None:
    async def send(image: bytes, top_k: str = "1") -> httpx.Response:
        form: dict[str, Any] = {"files": {"image": ("photo.png", image, "image/png")}, "data": {"top_k": top_k}}
        return await post(gateway, key, "order-1", **form)

    first, again = await send(BLUE), await send(BLUE)
    boundaries = {answer.request.headers["content-type"] for answer in (first, again)}
    assert len(boundaries) == 2, "httpx makes a new boundary for each request"
    assert is_replayed(again)
    assert again.content == first.content
    assert_problem(await send(RED), 422)
    assert_problem(await send(BLUE, top_k="2"), 422)


def form(boundary: str, *parts: tuple[str, bytes]) -> bytes:
    """A form with these parts, each with its name and data."""
    head = 'Content-Disposition: form-data; name="{}"; filename="a.png"'
    lines = [f"--{boundary}\r\n{head.format(name)}\r\n\r\n".encode() + data + b"\r\n" for name, data in parts]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


async def send_form(
    gateway: InProcessGateway, key: IssuedKey, boundary: str, body: bytes, piece: int
) -> httpx.Response:
    """Send a form in pieces of so many bytes."""
    content_type = f'multipart/form-data; boundary="{boundary}"'
    exchange = gateway.exchange("/v2/classify/batch", key, content_type=content_type, idempotency_key="order-1")
    for start in range(0, len(body), piece):
        exchange.send(body[start : start + piece])
    exchange.send(b"", more=False)
    return await exchange.answer()


async def test_a_form_is_the_same_however_it_is_cut_in_pieces(gateway: InProcessGateway, key: IssuedKey) -> None:
    first = await send_form(gateway, key, "aaa", form("aaa", ("image", BLUE), ("image", RED)), 1 << 20)
    assert first.status_code == 200
    for boundary, piece in (("b" * 60, 1), ("-", 7), ("aaab", 64)):
        again = await send_form(gateway, key, boundary, form(boundary, ("image", BLUE), ("image", RED)), piece)
        assert (again.content, is_replayed(again)) == (first.content, True)


@pytest.mark.parametrize(
    "parts",
    [
        [("image", RED), ("image", BLUE)],
        [("image", BLUE)],
        [("images", BLUE), ("image", RED)],
        # What was a delimiter before is now data.
        [
            (
                "image",
                BLUE + b'\r\n--aaa\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + RED,
            )
        ],
    ],
)
async def test_a_form_with_other_parts_is_another_body(
    gateway: InProcessGateway, key: IssuedKey, parts: list[tuple[str, bytes]]
) -> None:
    await send_form(gateway, key, "aaa", form("aaa", ("image", BLUE), ("image", RED)), 1 << 20)
    assert_problem(await send_form(gateway, key, "bbb", form("bbb", *parts), 1 << 20), 422)


async def test_the_key_is_of_one_user_and_one_route(gateway: InProcessGateway, key: IssuedKey) -> None:
    other = gateway.new_key(email="other@example.org")
    same_user = gateway.new_key()
    await post(gateway, key, "order-1")
    assert not is_replayed(await post(gateway, other, "order-1"))
    assert not is_replayed(await post(gateway, key, "order-1", "/v1/classify"))
    assert is_replayed(await post(gateway, same_user, "order-1"))


@pytest.mark.parametrize("written", ["order 1", "", "a" * 256, '"open', '""', "ü", 'x"y"', '"order-1";a'])
async def test_a_malformed_key_is_400_and_costs_nothing(
    gateway: InProcessGateway, key: IssuedKey, written: str
) -> None:
    call = {"headers": {b"idempotency-key": written.encode()}, **ONE}
    answer = await gateway.request("POST", "/v2/classify", key, **call)
    if written == 'x"y"':
        assert answer.status_code == 200
        return
    problem = assert_problem(answer, 400)
    assert problem["field"] == "Idempotency-Key"
    assert "ratelimit" in answer.headers
    assert gateway.hits() == 0


async def test_a_key_may_be_a_structured_field_or_a_bare_word(gateway: InProcessGateway, key: IssuedKey) -> None:
    """The draft wants a string of RFC 9651; callers who know Stripe send the bare word."""
    longest = "a" * 255
    for bare, quoted in (("order-1", '"order-1"'), (longest, f'"{longest}"'), (r"a\b", r'"a\\b"')):
        await post(gateway, key, bare)
        assert is_replayed(await post(gateway, key, quoted))


async def test_several_keys_in_one_request_are_400(gateway: InProcessGateway, key: IssuedKey) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("Authorization", f"Bearer {key.text}")]
    transport = httpx.ASGITransport(gateway.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://it") as client:
        assert_problem(await client.post("/v2/classify", headers=headers, **ONE), 400)


async def test_of_twenty_at_once_one_is_computed(start: Start) -> None:
    """Two workers with one database."""
    workers = [await start(), await start()]
    key = workers[0].new_key()
    sent = [post(workers[number % 2], key, "order-1") for number in range(20)]
    answers = await asyncio.gather(*sent)
    fresh = [answer for answer in answers if answer.status_code == 200 and not is_replayed(answer)]
    assert len(fresh) == 1
    for answer in answers:
        if answer.status_code == 200:
            assert answer.content == fresh[0].content
        else:
            assert_problem(answer, 409)
            assert answer.headers["retry-after"] == "1"
            assert "ratelimit" in answer.headers
    assert workers[0].hits() == 1
    assert sorted(images for _, images in billed(workers[0])) == [0] * 19 + [1]


async def test_a_request_under_way_keeps_its_key_however_long_it_takes(start: Start, clock: Clock) -> None:
    gateway, neighbour = await start(), await start()
    key = gateway.new_key()
    with gateway.runner.engine.held():
        first = asyncio.create_task(post(gateway, key, "order-1"))
        await gateway.runner.asked(1)
        for _ in range(5):
            before_us = lease_ends_us(gateway)
            clock.advance(LEASE_S // 2)
            await lease_ends_after(gateway, before_us)
            assert_problem(await post(neighbour, key, "order-1"), 409)
    assert (await first).status_code == 200
    assert is_replayed(await post(neighbour, key, "order-1"))


async def test_a_caller_who_goes_away_frees_the_key(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    with gateway.runner.engine.held():
        exchange = gateway.exchange("/v2/classify", key, content_type="image/png", idempotency_key="order-1")
        exchange.send(BLUE, more=False)
        await gateway.runner.asked(1)
        exchange.disconnect()
        # It is noticed a moment later.
        clock.advance(1)
        await exchange.answer()
    answer = await post(gateway, key, "order-1")
    assert (answer.status_code, is_replayed(answer)) == (200, False)


async def test_the_key_of_a_request_that_died_is_free_again_soon(
    gateway: InProcessGateway, key: IssuedKey, clock: Clock
) -> None:
    # What is left of a request whose worker was killed.
    await gateway.store.claim(key.user_id, "/v2/classify", "order-1", "req_dead")
    clock.advance(LEASE_S, microseconds=-1)
    assert_problem(await post(gateway, key, "order-1"), 409)
    clock.advance(microseconds=1)
    answer = await post(gateway, key, "order-1")
    assert (answer.status_code, is_replayed(answer)) == (200, False)
    assert is_replayed(await post(gateway, key, "order-1"))


async def test_two_that_held_one_key_are_not_both_answered(
    start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker stood still for longer than its lease, so another took the key over. Only one is given an answer."""
    slow, neighbour = await start(), await start()
    key = slow.new_key()
    with slow.runner.engine.held():
        late = asyncio.create_task(post(slow, key, "order-1"))
        await slow.runner.asked(1)
        monkeypatch.setattr(slow.store, "renew_claim", AsyncMock())
        clock.advance(LEASE_S)
        first = await post(neighbour, key, "order-1")
        assert (first.status_code, is_replayed(first)) == (200, False)
    assert "predictions" not in assert_problem(await late, 409)
    assert sorted(row["status"] for row in slow.usage_rows()) == [200, 409]
    assert (await post(slow, key, "order-1")).content == first.content


async def test_an_answer_is_kept_for_a_day(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    first = await post(gateway, key, "order-1")
    clock.advance(KEPT_S, microseconds=-1)
    assert (await post(gateway, key, "order-1")).json() == first.json()
    clock.advance(microseconds=1)
    later = await post(gateway, key, "order-1", **OTHER)
    assert (later.status_code, is_replayed(later)) == (200, False)


async def test_an_answer_that_is_not_logged_is_not_kept(
    gateway: InProcessGateway, key: IssuedKey, clock: Clock
) -> None:
    with gateway.without_table("usage_log"):
        assert_problem(await post(gateway, key, "order-1"), 503)
    clock.advance(LEASE_S)
    answer = await post(gateway, key, "order-1")
    assert (answer.status_code, is_replayed(answer)) == (200, False)
    assert billed(gateway) == [(200, 1)]


async def test_without_its_table_a_request_with_a_key_is_503_and_others_are_answered(
    gateway: InProcessGateway, key: IssuedKey
) -> None:
    with gateway.without_table("idempotency_keys"):
        answer = await post(gateway, key, "order-1")
        assert_problem(answer, 503)
        assert "ratelimit-policy" in answer.headers
        assert (await gateway.request("POST", "/v2/classify", key, **ONE)).status_code == 200
    assert gateway.hits() == 1


async def test_a_body_that_is_too_large_is_413_for_a_retry_too(start: Start) -> None:
    gateway = await start(max_body_bytes=2000)
    key = gateway.new_key()
    await post(gateway, key, "order-1")
    for _ in range(2):
        assert_problem(await post(gateway, key, "order-1", content=b"x" * 2001), 413)
    chunks = gateway.exchange("/v2/classify", key, content_type="application/json", idempotency_key="order-1")
    chunks.send(b"x" * 2001)
    assert_problem(await chunks.answer(), 413)


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
