"""The client against a real server whose queue is short: its 503s are part of every run."""

import asyncio
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import classifier_client as cc
import numpy as np
import pytest
from PIL import Image

from testing.photographs import CAT, COFFEE, encoded
from testing.servers import Server, running
from tests.counted import billed, successes

IMAGES = 1000 if "TORTURE" in os.environ else 100
MOST_WAITING = 12

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("busy") / "it"
    with running(folder, model_store, CLASSIFIER_MAX_QUEUE=str(MOST_WAITING)) as server:
        yield server


@pytest.fixture
def key(busy: Server) -> str:
    """The key of a new user whose limit is out of the way."""
    return str(busy.create_key(f"user{next(_numbers)}@example.org", "--limit", "100000/minute")["key"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every third image is a cat and the others are cups, each of a size of its own."""
    made = tmp_path_factory.mktemp("photos")
    for number in range(IMAGES):
        photo = Image.open(CAT if number % 3 == 0 else COFFEE).convert("RGB").resize((200 + number, 150))
        (made / f"{number:04}.jpg").write_bytes(encoded(photo, "JPEG"))
    return made


def is_right(outcomes: list[cc.Outcome[Path]]) -> bool:
    widths = [outcome.result.image.width if outcome.result else outcome.error for outcome in outcomes]
    assert widths == [200 + number for number in range(IMAGES)]
    cats = {outcome.result.label for outcome in outcomes[::3] if outcome.result}
    cups = {outcome.result.label for outcome in outcomes[1::3] if outcome.result}
    return bool(cats) and not cats & cups


def test_one_image_is_classified_whatever_holds_it(busy: Server, key: str) -> None:
    with cc.Client(busy.url, key) as client:
        result = client.classify(COFFEE, top_k=2)
        assert result.label == "espresso"
        assert len(result.predictions) == 2
        pixels = np.asarray(Image.open(COFFEE).convert("RGB"))
        assert client.classify(pixels, top_k=2).predictions == result.predictions
        assert client.classify(COFFEE.read_bytes(), top_k=2).predictions == result.predictions
        with pytest.raises(cc.InvalidImage) as raised:
            client.classify(b"no image")
        assert (raised.value.request_id or "").startswith("req_")
        batch = client.classify_batch([COFFEE, b"no image", CAT], top_k=1)
        assert [len(entry.predictions) for entry in batch.entries] == [1, 0, 1]
        assert isinstance(batch.entries[1].error, cc.InvalidImage)
        assert result.label in client.models()[0].labels
        assert client.limits()[0].limit == "100000/minute"
        assert sum(bucket.images for bucket in client.usage()) == 7
    with cc.Client(busy.url, "imc_wrong") as client, pytest.raises(cc.AuthenticationError):
        client.classify(COFFEE)


def test_many_images_of_a_stream_may_be_under_way(busy: Server, key: str) -> None:
    """Each side would wait until the other reads, if the client did not take large answers while it sends."""
    with cc.Client(busy.url, key) as client:
        outcomes = list(client.stream([COFFEE] * 130, top_k=1000, ahead=130))
    assert all(outcome.result for outcome in outcomes)


def test_a_folder_is_classified_in_order_and_no_image_twice(busy: Server, key: str, folder: Path) -> None:
    """16 at a time are more than the queue takes, so many are refused with 503 and sent again."""
    patient = cc.Retries(most=50, first=0.1, longest=0.5)
    with cc.Client(busy.url, key, retries=patient) as client:
        outcomes = list(client.classify_folder(folder, concurrency=16))
        assert is_right(outcomes)
        refused = sum(bucket.status.get("5xx", 0) for bucket in client.usage())
    assert refused > 0
    assert successes(busy, key) == IMAGES


def test_a_limit_is_waited_out(busy: Server) -> None:
    key = busy.create_key("waits@example.org", "--limit", "4/5s")["key"]

    async def classify_all() -> list[cc.Outcome[bytes]]:
        async with cc.AsyncClient(busy.url, key) as client:
            return [outcome async for outcome in client.classify_many([COFFEE.read_bytes()] * 6, concurrency=5)]

    outcomes = asyncio.run(classify_all())
    assert [outcome.result.label if outcome.result else outcome.error for outcome in outcomes] == ["espresso"] * 6
    with busy.client(key) as client:
        found = client.get("/v2/usage").json()["data"]
    assert sum(bucket["status"].get("4xx", 0) for bucket in found) > 0


def test_a_server_that_is_killed_and_back_loses_no_image(busy: Server, key: str, folder: Path) -> None:
    patient = cc.Retries(most=200, first=0.5, longest=2)
    restarted: list[Any] = []

    def restart() -> None:
        busy.kill()
        busy.start()
        restarted.append(True)

    restarting = threading.Thread(target=restart)
    outcomes = []
    with cc.Client(busy.url, key, retries=patient) as client:
        for number, outcome in enumerate(client.classify_folder(folder, concurrency=16)):
            outcomes.append(outcome)
            if number == 5:
                restarting.start()
    restarting.join()
    assert restarted
    assert is_right(outcomes)
    # The client sent again what had no answer, with the same idempotency key: no image is billed twice.
    assert billed(busy, key) == IMAGES
