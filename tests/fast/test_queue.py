"""The queue of images that wait for the model: its bound, its turns, and what callers are told when it is full."""

import json

import pytest

from inference.classifier import Classifier
from inference.runner import EmbeddedRunner
from model.engine import Description
from testing.asgi_exchange import Exchange
from testing.colour_model import MAX_BATCH, PREPARED, ColourEngine, image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from testing.shipped_wiring import settings_of
from testing.waiting import eventually
from tests.answers import assert_problem
from tests.fast.conftest import Start
from web.problem import unavailable

pytestmark = pytest.mark.anyio

IMAGE = as_base64(image_of("cyan"))


def classifying(gateway: InProcessGateway, key: IssuedKey) -> Exchange:
    """Begin to classify one image."""
    exchange = gateway.exchange("/v1/classify", key, content_type="application/json")
    exchange.send(json.dumps({"image": IMAGE}).encode(), more=False)
    return exchange


def classifying_batch(gateway: InProcessGateway, key: IssuedKey, number: int) -> Exchange:
    """Begin to classify several images."""
    exchange = gateway.exchange("/v2/classify/batch", key, content_type="application/json")
    exchange.send(json.dumps({"images": [IMAGE] * number}).encode(), more=False)
    return exchange


async def test_a_full_queue_is_503_and_costs_nothing(start: Start) -> None:
    gateway = await start(max_queue=1)
    key = gateway.new_key("10/minute")
    with gateway.runner.engine.held():
        first = classifying(gateway, key)
        await gateway.runner.asked(1)
        answer = await classifying(gateway, key).answer()
        assert "overloaded" in assert_problem(answer, 503)["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["ratelimit"] == '"default";r=9;t=60'
        assert gateway.hits() == 1
        refused_batch = await classifying_batch(gateway, key, 1).answer()
        assert_problem(refused_batch, 503)
        assert gateway.hits() == 1
    assert (await first.answer()).status_code == 200
    assert (await classifying(gateway, key).answer()).status_code == 200


async def test_a_full_queue_has_a_place_for_another_user(start: Start) -> None:
    gateway = await start(max_queue=1)
    keys = [gateway.new_key(email=f"user{number}@example.org") for number in range(3)]
    with gateway.runner.engine.held():
        first = classifying(gateway, keys[0])
        await gateway.runner.asked(1)
        assert_problem(await classifying(gateway, keys[0]).answer(), 503)
        second = classifying(gateway, keys[1])
        await gateway.runner.asked(2)
        # Now every place is taken.
        assert_problem(await classifying(gateway, keys[2]).answer(), 503)
    assert [(await one.answer()).status_code for one in (first, second)] == [200, 200]


async def test_a_user_who_is_alone_may_fill_the_queue_up_to_the_setting(start: Start) -> None:
    gateway = await start(max_queue=6)
    key = gateway.new_key()
    with gateway.runner.engine.held():
        waiting = []
        for number in range(1, 7):
            waiting.append(classifying(gateway, key))
            await gateway.runner.asked(number)
        assert gateway.classifier.queue.waiting == 6
        assert_problem(await classifying(gateway, key).answer(), 503)
    assert {(await one.answer()).status_code for one in waiting} == {200}
    assert gateway.classifier.queue.waiting == 0


async def test_a_batch_that_finds_too_little_room_is_503_as_a_whole(start: Start) -> None:
    gateway = await start(max_queue=6)
    key = gateway.new_key()
    with gateway.runner.engine.held():
        first = classifying_batch(gateway, key, 4)
        await gateway.runner.asked(1)
        answer = await classifying_batch(gateway, key, 4).answer()
        assert "no room for so many" in assert_problem(answer, 503)["detail"]
    assert (await first.answer()).status_code == 200


async def test_users_take_turns(gateway: InProcessGateway) -> None:
    """The engine takes two images at a time: who sends one waits for a turn of the other user, not for its batch."""
    many, one = gateway.new_key(), gateway.new_key(email="one@example.org")
    engine = gateway.runner.engine
    with engine.held():
        batch = classifying_batch(gateway, many, 6)
        await gateway.runner.asked(1)
        single = classifying(gateway, one)
        await gateway.runner.asked(2)
        engine.release(1)
        await eventually(lambda: len(engine.batches) == 3, "the engine takes a third batch")
        # Of the four images of the batch two are left, and the single image is before them.
        engine.release(2)
        assert (await single.answer()).status_code == 200
        assert engine.batches[:3] == [2, 2, 1]
    assert (await batch.answer()).status_code == 200
    assert engine.batches == [2, 2, 1, 2]


async def test_a_runner_that_is_gone_is_503_and_the_place_is_given_back(
    gateway: InProcessGateway, key: IssuedKey
) -> None:
    gateway.runner.fault = unavailable("The model is not running; send the request again shortly.", kind="runner")
    answer = await classifying(gateway, key).answer()
    assert "not running" in assert_problem(answer, 503)["detail"]
    assert answer.headers["retry-after"] == "1"
    assert_problem(await classifying_batch(gateway, key, 2).answer(), 503)
    assert gateway.classifier.queue.waiting == 0
    gateway.runner.fault = None
    assert (await classifying(gateway, key).answer()).status_code == 200


async def test_a_worker_is_ready_once_the_runner_answers(start: Start) -> None:
    gateway = await start(is_warm=False)
    gateway.runner.fault = unavailable("The model is not running; send the request again shortly.", kind="runner")
    assert not await gateway.classifier.is_ready()
    assert not gateway.classifier.is_loaded
    gateway.runner.fault = None
    assert await gateway.classifier.is_ready()
    assert gateway.classifier.is_loaded


async def test_the_model_is_known_before_its_first_image_is_computed() -> None:
    """Who waited for a worker that starts comes at once, and each answer of v2 names the model."""
    description = Description(engine="openvino", precision="f32", images_per_s=10.0)
    runner = EmbeddedRunner(ColourEngine(), description, MAX_BATCH, lambda _: None)
    assert Classifier(runner, PREPARED, settings_of()).served_model()["precision"] == "f32"


async def test_a_runner_that_has_answered_a_caller_is_still_asked_what_it_runs_on(start: Start) -> None:
    gateway = await start(is_warm=False)
    assert (await classifying(gateway, gateway.new_key()).answer()).status_code == 200
    assert await gateway.classifier.is_ready()
    assert gateway.classifier.is_loaded


async def test_a_busy_runner_is_not_asked_whether_it_is_ready(
    gateway: InProcessGateway, key: IssuedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second that it takes for an answer to be an old one may pass on a busy machine.
    monkeypatch.setattr("inference.runner_connection.READY_FOR_S", 600.0)
    assert (await classifying(gateway, key).answer()).status_code == 200
    gateway.runner.fault = unavailable("The model is not running; send the request again shortly.", kind="runner")
    assert await gateway.classifier.is_ready(), "it has answered of late"
