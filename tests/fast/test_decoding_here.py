"""Where an image is decoded: on the event loop, if it is small and no other image waits; otherwise in a thread."""

import json
import threading

import pytest

from inference.classifier import SMALL_FILE
from inference.decode_pool import SMALL_WORK
from testing.asgi_exchange import Exchange
from testing.colour_model import image_of
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


def classifying(gateway: InProcessGateway, key: IssuedKey, image: bytes, kind: str = "image/png") -> Exchange:
    """Begin to classify an image: the file itself, or base64 in JSON."""
    exchange = gateway.exchange("/v2/classify", key, content_type=kind)
    body = image if kind == "image/png" else json.dumps({"image": as_base64(image)}).encode()
    exchange.send(body, more=False)
    return exchange


async def label(exchange: Exchange) -> str:
    answer = await exchange.answer()
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictions"][0]["label"])


@pytest.mark.parametrize("kind", ["image/png", "application/json"])
async def test_a_small_image_that_is_alone_needs_no_thread(
    decoders: Decoders, gateway: InProcessGateway, key: IssuedKey, kind: str
) -> None:
    for _ in range(2):
        assert await label(classifying(gateway, key, SMALL, kind)) == "cyan"
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
