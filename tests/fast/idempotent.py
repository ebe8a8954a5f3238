"""What the tests of `Idempotency-Key` share: requests with a key, and their results."""

from typing import Any

import httpx

from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64

BLUE, RED = image_of("blue"), image_of("red")
ONE: dict[str, Any] = {"json": {"image": as_base64(BLUE)}}
OTHER: dict[str, Any] = {"json": {"image": as_base64(RED)}}


async def post(
    gateway: InProcessGateway, key: IssuedKey, idempotency_key: str, path: str = "/v2/classify", **call: Any
) -> httpx.Response:
    headers = {**call.pop("headers", {}), "Idempotency-Key": idempotency_key}
    return await gateway.request("POST", path, key, headers=headers, **(call or ONE))


def is_replayed(answer: httpx.Response) -> bool:
    assert answer.headers.get("idempotency-replayed", "true") == "true"
    return "idempotency-replayed" in answer.headers


def billed(gateway: InProcessGateway) -> list[tuple[int, int]]:
    """Status and images of each row of the usage log."""
    return [(row["status"], row["images"]) for row in gateway.usage_rows()]
