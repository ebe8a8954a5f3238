"""Where an image is decoded: on the event loop, if it is small and no other image waits; otherwise in a thread."""

import threading
from typing import Any

import pytest

from inference.classifier import SMALL_FILE
from inference.decode_pool import SMALL_WORK
from testing.asgi_exchange import Exchange
from testing.colour_model import NAME, image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64

pytestmark = pytest.mark.anyio

SMALL = image_of("cyan")
EDGE = int(SMALL_WORK**0.5)
TOO_LARGE_FILE = SMALL.ljust(SMALL_FILE + 1, b"\0")


class Decoders:
    """The threads that decode, of gateways that began after this. A thread begins with the first image for it."""

    def __init__(self) -> None:
        self._before = set(threading.enumerate())

    def begun(self) -> bool:
        return any(one.name.startswith("decode") for one in set(threading.enumerate()) - self._before)


@pytest.fixture
def decoders() -> Decoders:
    return Decoders()


def classifying(gateway: InProcessGateway, key: IssuedKey, image: bytes) -> Exchange:
    """Begin to classify an image."""
    exchange = gateway.exchange("/v2/classify", key, content_type="image/png")
    exchange.send(image, more=False)
    return exchange


async def label(exchange: Exchange) -> str:
    answer = await exchange.answer()
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictions"][0]["label"])


@pytest.mark.parametrize(
    ("path", "options"),
    [
        pytest.param("/v1/classify", {"json": {"image": as_base64(SMALL)}}, id="json"),
        pytest.param("/v2/classify", {"content": SMALL, "headers": {"Content-Type": "image/png"}}, id="raw"),
        pytest.param("/v2/classify", {"files": {"image": ("a.png", SMALL)}}, id="form"),
        pytest.param("/v2/classify/batch", {"json": {"images": [as_base64(SMALL)]}}, id="batch-of-one"),
        pytest.param(f"/models/{NAME}", {"content": image_of("cyan", "WEBP")}, id="hugging-face"),
    ],
)
async def test_a_small_image_that_is_alone_needs_no_thread(
    decoders: Decoders, gateway: InProcessGateway, key: IssuedKey, path: str, options: dict[str, Any]
) -> None:
    for _ in range(2):
        answer = await gateway.request("POST", path, key, **options)
        assert (answer.status_code, "cyan" in answer.text) == (200, True)
    assert not decoders.begun()


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(image_of("cyan", size=(EDGE + 1, EDGE + 1)), id="many pixels"),
        pytest.param(TOO_LARGE_FILE, id="a large file"),
    ],
)
async def test_a_larger_one_is_decoded_in_a_thread(
    decoders: Decoders, gateway: InProcessGateway, key: IssuedKey, image: bytes
) -> None:
    assert await label(classifying(gateway, key, image)) == "cyan"
    assert decoders.begun()


async def test_a_large_file_is_not_even_read_on_the_event_loop(
    decoders: Decoders, gateway: InProcessGateway, key: IssuedKey
) -> None:
    answer = await classifying(gateway, key, b"none" * SMALL_FILE).answer()
    assert answer.status_code == 400
    assert decoders.begun()


async def test_beside_another_image_it_is_decoded_in_a_thread(
    decoders: Decoders, gateway: InProcessGateway, key: IssuedKey
) -> None:
    with gateway.runner.engine.held():
        first = classifying(gateway, key, SMALL)
        await gateway.runner.asked(1)
        assert not decoders.begun()
        second = classifying(gateway, key, SMALL)
        await gateway.runner.asked(2)
        assert decoders.begun()
    assert [await label(one) for one in (first, second)] == ["cyan", "cyan"]
