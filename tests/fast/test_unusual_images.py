"""The process for unusual images: started by the first of them, and what a caller is told where there can be none."""

import asyncio
import errno
import subprocess
from unittest import mock

import httpx
import psutil
import pytest

from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.waiting import eventually
from tests.answers import assert_problem
from tests.image_writers import ENDLESS_BMP

pytestmark = pytest.mark.anyio

UNUSUAL, USUAL = image_of("green", "TIFF"), image_of("red")


def processes() -> list[psutil.Process]:
    """The processes for unusual images that this process has started."""
    return [child for child in psutil.Process().children() if "inference.decoder_process" in child.cmdline()]


async def classify(gateway: InProcessGateway, key: IssuedKey, image: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/octet-stream"}
    return await gateway.request("POST", "/v2/classify", key, content=image, headers=headers)


def label(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictions"][0]["label"])


async def test_no_process_is_started_until_an_image_needs_it(gateway: InProcessGateway, key: IssuedKey) -> None:
    await gateway.classifier.warm_up()
    assert label(await classify(gateway, key, USUAL)) == "red"
    assert processes() == []
    for _ in range(2):
        assert label(await classify(gateway, key, UNUSUAL)) == "green"
        assert len(processes()) == 1


@pytest.mark.parametrize("lacking", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
async def test_where_none_can_be_started_the_caller_may_try_again(
    gateway: InProcessGateway, key: IssuedKey, lacking: int, caplog: pytest.LogCaptureFixture
) -> None:
    with mock.patch.object(subprocess, "Popen", side_effect=OSError(lacking, "Too few of them")):
        answer = await classify(gateway, key, UNUSUAL)
        assert "can't decode this image now" in assert_problem(answer, 503)["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        assert label(await classify(gateway, key, USUAL)) == "red"
    assert "Too few of them" in caplog.text
    assert label(await classify(gateway, key, UNUSUAL)) == "green"


async def test_where_the_system_kills_it_the_caller_may_try_again(
    gateway: InProcessGateway, key: IssuedKey, caplog: pytest.LogCaptureFixture
) -> None:
    assert label(await classify(gateway, key, UNUSUAL)) == "green"
    [fork_server] = processes()
    asked = asyncio.create_task(classify(gateway, key, ENDLESS_BMP))
    [child] = await eventually(fork_server.children, "a process decodes", looks_every_s=0.01)
    child.kill()
    answer = await asked
    assert "can't decode this image now" in assert_problem(answer, 503)["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    assert "An image could not be decoded: its process was killed, perhaps because memory is short." in caplog.text
    assert label(await classify(gateway, key, UNUSUAL)) == "green"
