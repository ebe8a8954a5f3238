"""`Idempotency-Key`: which keys are one key, and which bodies are one body."""

from typing import Any

import httpx
import pytest

from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from tests.fast.conftest import Start
from tests.fast.idempotent import BLUE, ONE, OTHER, RED, is_replayed, post

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize("written", ["order 1", "", "a" * 256, '"open', '""', "ü", '"order-1";a'])
async def test_a_malformed_key_is_400_and_costs_nothing(
    gateway: InProcessGateway, key: IssuedKey, written: str
) -> None:
    call = {"headers": {b"idempotency-key": written.encode()}, **ONE}
    answer = await gateway.request("POST", "/v2/classify", key, **call)
    problem = assert_problem(answer, 400)
    assert problem["field"] == "Idempotency-Key"
    assert "ratelimit" in answer.headers
    assert gateway.hits() == 0


@pytest.mark.parametrize("written", ["{key}", '"{key}"', "retry-{key}-1", "{rest}"])
async def test_an_api_key_is_never_stored_as_an_idempotency_key(
    gateway: InProcessGateway, key: IssuedKey, written: str
) -> None:
    answer = await post(gateway, key, written.format(key=key.text, rest=key.text.removeprefix("imc_")))
    problem = assert_problem(answer, 400)
    assert problem["field"] == "Idempotency-Key"
    assert "API key" in problem["detail"]
    assert key.text not in answer.text
    assert gateway.hits() == 0


async def test_a_key_may_be_a_structured_field_or_a_bare_word(gateway: InProcessGateway, key: IssuedKey) -> None:
    """The draft wants a string of RFC 9651; callers who know Stripe send the bare word."""
    longest = "a" * 255
    for bare, quoted in (("order-1", '"order-1"'), (longest, f'"{longest}"'), (r"a\b", r'"a\\b"'), ('a"b', r'"a\"b"')):
        await post(gateway, key, bare)
        assert is_replayed(await post(gateway, key, quoted))


async def test_several_keys_in_one_request_are_400(gateway: InProcessGateway, key: IssuedKey) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("Authorization", f"Bearer {key.text}")]
    transport = httpx.ASGITransport(gateway.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://it") as client:
        assert_problem(await client.post("/v2/classify", headers=headers, **ONE), 400)


async def test_a_body_that_is_too_large_is_413_for_a_retry_too(start: Start) -> None:
    gateway = await start(max_body_bytes=2000)
    key = gateway.new_key()
    await post(gateway, key, "order-1")
    for _ in range(2):
        assert_problem(await post(gateway, key, "order-1", content=b"x" * 2001), 413)
    chunks = gateway.exchange("/v2/classify", key, content_type="application/json", idempotency_key="order-1")
    chunks.send(b"x" * 2001)
    assert_problem(await chunks.answer(), 413)
