"""Adaptive batching, seen from outside: by BentoML's own histogram of batch sizes, and by every answer being right."""

import re
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from testing.photographs import as_base64, crops, encoded
from testing.servers import Server, running

CALLERS = 64
EACH = 3
SMALL = (64, 64)
LONE_CALLS = 7


def batches(server: Server, metrics_key: str) -> tuple[float, float]:
    """How many batches the runner has run, and how many images were in them."""
    with server.client(metrics_key) as client:
        text = client.get("/metrics").text
    found = []
    for part in ("count", "sum"):
        lines = re.findall(rf'^bentoml_service_adaptive_batch_size_{part}\{{[^}}]*"predict"[^}}]*\}} (\S+)', text, re.M)
        found.append(sum(map(float, lines)))
    return found[0], found[1]


@pytest.fixture(scope="module", params=["embedded", "service"])
def batching(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Servers with the runner in either place."""
    if request.param == "embedded":
        yield request.getfixturevalue("server")
    else:
        store = request.getfixturevalue("model_store")
        with running(tmp_path_factory.mktemp("batching") / "it", store, CLASSIFIER_RUNNER="service") as started:
            yield started


@pytest.mark.alone
def test_sixty_four_callers_share_batches_and_none_is_refused(batching: Server) -> None:
    server = batching
    metrics_key = server.create_key("metrics@example.org", "--scope", "metrics")["key"]
    key = server.create_key("many@example.org", "--limit", "100000/minute")["key"]
    # Small, so that they wait for the engine, where batches form, and not for their decoding.
    bodies = [{"image": as_base64(encoded(image.resize(SMALL), "JPEG"))} for image in crops(CALLERS)]
    with server.client(key) as client:
        alone = [client.post("/v1/classify", json=body).json()["predictions"][0]["label"] for body in bodies]
        before = batches(server, metrics_key)

        def call(number: int) -> list[tuple[int, str]]:
            answers = [client.post("/v1/classify", json=bodies[number]) for _ in range(EACH)]
            return [(answer.status_code, answer.json()["predictions"][0]["label"]) for answer in answers]

        with ThreadPoolExecutor(CALLERS) as pool:
            told = list(pool.map(call, range(CALLERS)))
    after = batches(server, metrics_key)
    assert {status for answers in told for status, _ in answers} == {200}
    wrong = sum(label != alone[number] for number, answers in enumerate(told) for _, label in answers)
    assert wrong <= 0.01 * CALLERS * EACH, "bf16 may turn a close call, and no more"
    number_of_batches, images = after[0] - before[0], after[1] - before[1]
    print(f"{images / number_of_batches:.2f} images in a batch")
    assert images == CALLERS * EACH
    assert images / number_of_batches > 1.5


@pytest.mark.alone
def test_who_calls_alone_after_others_waits_for_the_engine_and_no_company(batching: Server) -> None:
    key = batching.create_key("lone@example.org", "--limit", "100000/minute")["key"]
    body = {"image": as_base64(encoded(crops(1)[0], "JPEG"))}

    def spent_ms(client: httpx.Client) -> dict[str, float]:
        told = client.post("/v1/classify", json=body).headers["server-timing"]
        return {name: float(spent) for name, spent in re.findall(r"(\w+);dur=([\d.]+)", told)}

    with batching.client(key) as client, ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda _: spent_ms(client), range(CALLERS * EACH)))
        alone = [spent_ms(client) for _ in range(LONE_CALLS)]
    queue, infer = (statistics.median(spent[name] for spent in alone) for name in ("queue", "infer"))
    print(f"waited {queue:.0f} ms for an engine that took {infer:.0f} ms")
    assert queue < 2 * infer


def test_a_runner_that_takes_one_image_at_a_time_serves_batches_too(tmp_path: Path, model_store: Path) -> None:
    """BentoML refuses to batch by one, which stopped the start."""
    settings = {"CLASSIFIER_MAX_BATCH_SIZE": "1", "CLASSIFIER_RUNNER": "service"}
    with running(tmp_path / "it", model_store, **settings) as server:
        key = server.create_key("one@example.org")["key"]
        images = [as_base64(encoded(image.resize(SMALL), "JPEG")) for image in crops(3)]
        with server.client(key) as client:
            answer = client.post("/v2/classify/batch", json={"images": images})
    assert [len(result["predictions"]) for result in answer.json()["results"]] == [5, 5, 5]
