"""Nothing of a request stays in memory after its answer, for garbage collection to find.

Collecting is rare in a worker (`runtime/garbage_collection.py`), and stops every request: 50,000 objects take 35 ms.
"""

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from api.draining import LOOKS_EVERY_S
from testing.clock import Clock
from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from web.context import RequestContext

pytestmark = pytest.mark.anyio

PNG = image_of("green")
TEXT = as_base64(PNG)
TIMES = 3


def named(kind: str, *values: Any, **options: Any) -> Any:
    return pytest.param(*values, options, id=kind)


REQUESTS = [
    named("json", 200, "POST", "/v1/classify", json={"image": TEXT}),
    named("raw", 200, "POST", "/v2/classify", content=PNG, headers={"Content-Type": "image/png"}),
    named("form", 200, "POST", "/v2/classify", files={"image": ("a.png", PNG)}),
    named("batch", 200, "POST", "/v2/classify/batch", json={"images": [TEXT, TEXT, "bad"]}),
    named(
        "image-by-image",
        200,
        "POST",
        "/v2/classify/batch",
        json={"images": [TEXT, "bad"]},
        headers={"Accept": "application/x-ndjson"},
    ),
    named("hugging-face", 200, "POST", "/models/test/colours", content=PNG),
    named("usage", 200, "GET", "/v1/usage"),
    named("limits", 200, "GET", "/v2/limits"),
    named("page", 200, "GET", "/", headers={"Accept": "text/html"}),
    named("hugging-face-not-base64", 400, "POST", "/models/test/colours", json={"inputs": "*"}),
    named("not-base64", 400, "POST", "/v1/classify", json={"image": "*"}),
    named("not-json", 400, "POST", "/v1/classify", content=b"{", headers={"Content-Type": "application/json"}),
    named("no-image", 400, "POST", "/v2/classify", content=b"none", headers={"Content-Type": "image/png"}),
    named("unknown-path", 404, "GET", "/v9"),
    named("wrong-method", 405, "PUT", "/v1/classify"),
    named("too-large", 413, "POST", "/v2/classify", content=b"0" * 11_000_000, headers={"Content-Type": "image/png"}),
    named("wrong-type", 415, "POST", "/v1/classify", content=b"", headers={"Content-Type": "text/plain"}),
    named("wrong-option", 422, "POST", "/v2/classify?top_k=0", content=PNG, headers={"Content-Type": "image/png"}),
    named("missing-field", 422, "POST", "/v1/classify", json={}),
    named("idempotent", 200, "POST", "/v1/classify", json={"image": TEXT}, headers={"Idempotency-Key": "same"}),
]


@pytest.fixture(autouse=True)
def _uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def requests_in_memory() -> int:
    # Not isinstance, which asks foreign objects for their __class__: torch's deprecated ones warn then.
    return sum(type(one) is RequestContext for one in gc.get_objects())


@pytest.mark.parametrize(("status", "method", "path", "options"), REQUESTS)
async def test_an_answered_request_leaves_nothing(
    gateway: InProcessGateway, key: IssuedKey, status: int, method: str, path: str, options: dict[str, Any]
) -> None:
    before = requests_in_memory()
    for _ in range(TIMES):
        answer = await gateway.request(method, path, key, **options)
        assert answer.status_code == status, answer.text
    assert requests_in_memory() == before


async def test_an_unknown_caller_leaves_nothing(gateway: InProcessGateway) -> None:
    before = requests_in_memory()
    for _ in range(TIMES):
        assert (await gateway.request("POST", "/v1/classify", json={"image": TEXT})).status_code == 401
    assert requests_in_memory() == before


async def test_a_request_that_was_watched_for_its_caller_leaves_nothing(
    gateway: InProcessGateway, key: IssuedKey, clock: Clock
) -> None:
    before = requests_in_memory()
    for number in range(1, TIMES + 1):
        with gateway.runner.engine.held():
            exchange = gateway.exchange("/v1/classify", key, content_type="application/json")
            exchange.send(json.dumps({"image": TEXT}).encode(), more=False)
            await gateway.runner.asked(number)
            clock.advance(seconds=1)
            await asyncio.sleep(2 * LOOKS_EVERY_S)
        assert (await exchange.answer()).status_code == 200
        del exchange
    assert requests_in_memory() == before
