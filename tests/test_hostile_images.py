"""What an image may cost, whoever made it: processor time, memory, the event loop, and what others wait meanwhile.

`make torture` tries every file of `tests/hostile_files.py`, `make test` the worst of each format.
"""

import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from testing.photographs import as_base64, crops, encoded
from testing.servers import Server
from tests.corpus.file import MOST_BYTES, CorpusFile
from tests.hostile_files import BATCHES, HOSTILE, ORDINARY, Batch, named
from tests.hostile_target import ANY_IMAGE, SMALL, Target

IN_FULL = bool(os.environ.get("TORTURE"))

# The contract's bounds.
MOST_CPU_S, MOST_MEMORY_MB, MOST_PAUSE_MS = 1.5, 500, 100
# The cores are shared with the tests themselves and with others: what can be a pause of the machine is tried again.
PAUSE_TRIES = ORDINARY_TRIES = 3
AT_ONCE, NEIGHBOUR_ASKS, NEIGHBOUR_TRIES = 32, 60, 3
TIME_LIMIT_S = 0.5
# Multipart needs no base64, JSON does.
MOST_IN_JSON = MOST_BYTES * 3 // 4 - 1000

PHOTO = encoded(crops(1)[0].resize((500, 375)), "JPEG", quality=90)
LONGEST = "JPEG-60000-empty-scans-of-1-megapixel"
# One of each format, which is not too large for JSON.
IN_JSON = (
    LONGEST,
    "PNG-50-megapixels-16-bit-RGBA",
    "WEBP-50-megapixels-all-transforms",
    "GIF-50-megapixels-interlaced-and-transparent",
    "BMP-whole-lines-RLE4",
    "TIFF-50-megapixels-deflate-floating",
)
# What is under way when its caller goes.
LEFT = (
    "JPEG-50-megapixels-progressive-4:4:4",
    LONGEST,
    "PNG-50-megapixels-16-bit-RGBA",
    "TIFF-2-million-tiles-of-1-x-1",
    "BMP-a-line-end-in-50000000-x-1",
)
# Where rounding is allowed, images are resized another way, which once took rows of any number for thin ones.
THIN = (
    "PNG-1-x-2000000",
    "PNG-50000000-x-1",
    "BMP-1-x-2500000",
    "PNG-1-x-400000",
    "PNG-1-x-50000000",
    "WEBP-canvas-of-2-x-16777216-for-a-frame-of-1-x-1",
    "TIFF-1-x-50000000-deflate",
    "JPEG-1-x-65500",
)


def tried(files: Sequence[Any]) -> list[Any]:
    return [pytest.param(file, id=file.id) for file in files if IN_FULL or file.in_ci]


@pytest.fixture(scope="module")
def _started(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Target]:
    server = Server(tmp_path_factory.mktemp("hostile") / "it", model_store, CLASSIFIER_MAX_QUEUE="256")
    yield Target(server)
    server.end()


@pytest.fixture
def target(_started: Target) -> Target:
    return _started.rested()


def assert_within_bounds(target: Target, send: Callable[[], None]) -> None:
    """Send it, and hold what it cost against the contract."""
    pauses = []
    for _ in range(PAUSE_TRIES):
        with target.meter() as meter:
            send()
        print(f"{meter.cpu_s:.2f} s, {meter.memory_mb:.0f} MB, {meter.pause_ms:.0f} ms")
        assert not meter.was_killed, f"it took {meter.memory_mb:.0f} MB"
        assert meter.cpu_s <= MOST_CPU_S, f"it took {meter.cpu_s:.2f} s of processor time"
        assert meter.memory_mb <= MOST_MEMORY_MB, f"it took {meter.memory_mb:.0f} MB"
        assert target.becomes_idle(), "it went on after the answer"
        pauses.append(meter.pause_ms)
        if meter.pause_ms <= MOST_PAUSE_MS:
            return
    raise AssertionError(f"the event loop stood still for {min(pauses):.0f} ms")


@pytest.mark.parametrize("file", tried(HOSTILE))
def test_a_hostile_file_costs_no_more_than_its_share(target: Target, file: CorpusFile) -> None:
    data = file.make()
    assert len(data) <= MOST_BYTES

    def send() -> None:
        status, text = target.post("/v2/classify", data, ANY_IMAGE)
        assert status in file.may_be, text

    assert_within_bounds(target, send)


KEEP_QUICK = """
from dataclasses import replace
from pathlib import Path
from configs.settings import load_settings
from model import choices
from model.configuration import Choice, Configuration
from model.prepared import find_prepared

settings = load_settings()
# In the home of this server, beside no model that other tests serve.
apart = replace(find_prepared(settings), folder=Path("/proc/self"))
choices.save(apart, settings, Choice(Configuration("bf16", "quick", 2, 2, 8), "a test"))
"""


@pytest.fixture(scope="module")
def rounding(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Target]:
    """A server whose precision allows images to be resized with roundings."""
    settings = {"CLASSIFIER_PRECISION": "bf16", "CLASSIFIER_TUNE": "auto"}
    server = Server(tmp_path_factory.mktemp("rounding") / "it", model_store, **settings)
    # As if it had been measured to be exact enough, also where this machine has no bf16.
    server.python(KEEP_QUICK)
    target = Target(server)
    assert "quick resize (a test)" in server.log.read_text()
    yield target
    server.end()


@pytest.mark.parametrize("name", THIN if IN_FULL else THIN[:3])
def test_a_thin_image_costs_no_more_where_rounding_is_allowed(rounding: Target, name: str) -> None:
    target, file = rounding.rested(), named(name)
    data = file.make()

    def send() -> None:
        status, text = target.post("/v2/classify", data, ANY_IMAGE)
        assert status in file.may_be, text

    assert_within_bounds(target, send)


@pytest.mark.parametrize("file", tried(ORDINARY))
def test_a_large_ordinary_file_is_answered_within_the_same_bounds(target: Target, file: CorpusFile) -> None:
    data = file.make()
    assert len(data) <= MOST_BYTES

    def send() -> None:
        statuses.append(target.post("/v2/classify", data, ANY_IMAGE)[0])

    # A machine that is busy with others gives the same work up to twice the processor time: it may be tried again.
    statuses: list[int] = []
    while statuses[-1:] != [200] and len(statuses) < ORDINARY_TRIES:
        assert_within_bounds(target, send)
    assert statuses[-1] == 200


@pytest.mark.alone
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda photo: encoded(photo, "JPEG", quality=80, progressive=True), id="progressive-JPEG"),
        pytest.param(lambda photo: encoded(photo, "WEBP", quality=60), id="WebP"),
    ],
)
def test_a_batch_of_ordinary_photographs_is_answered_whole(
    target: Target, make: Callable[[Image.Image], bytes]
) -> None:
    """As many and as large as a page shows; some take several times the work of a baseline JPEG of their size."""
    body, content_type = as_multipart([make(crops(1)[0].resize((1280, 720)))] * 32)

    def send() -> None:
        status, text = target.post("/v2/classify/batch", body, content_type)
        assert status == 200, text
        answered.append(sum("predictions" in entry for entry in json.loads(text)["results"]))

    # As above: on a machine that is busy with others, decoding seems to take longer.
    answered: list[int] = []
    while answered[-1:] != [32] and len(answered) < ORDINARY_TRIES:
        assert_within_bounds(target, send)
    assert answered[-1] == 32


@pytest.mark.parametrize("file", tried(HOSTILE) if IN_FULL else map(named, IN_JSON), ids=lambda file: file.id)
def test_in_json_it_costs_no_more(target: Target, file: CorpusFile) -> None:
    data = file.make()
    if len(data) > MOST_IN_JSON:
        pytest.skip("base64 makes it larger than a body may be")
    body = json.dumps({"image": as_base64(data)}).encode()

    def send() -> None:
        status, text = target.post("/v1/classify", body, "application/json")
        assert status in file.may_be, text

    assert_within_bounds(target, send)


@pytest.mark.parametrize("batch", tried(BATCHES))
@pytest.mark.parametrize("kind", ["multipart", "json"])
def test_a_batch_costs_no_more_than_one(target: Target, batch: Batch, kind: str) -> None:
    """One that is sound stands among them, and is answered."""
    images = [*batch.make()[:31], SMALL]
    if kind == "json":
        while sum(map(len, images)) > MOST_IN_JSON:
            images.pop(0)
    body, content_type = (as_json if kind == "json" else as_multipart)(images)

    def send() -> None:
        status, text = target.post("/v2/classify/batch", body, content_type)
        assert status == 200, text
        *others, last = json.loads(text)["results"]
        assert "predictions" in last, last
        for entry in others:
            assert ("predictions" in entry and 200 in batch.may_be) or entry["error"]["status"] in batch.may_be

    assert_within_bounds(target, send)


def as_json(images: Sequence[bytes]) -> tuple[bytes, str]:
    return json.dumps({"images": [as_base64(image) for image in images]}).encode(), "application/json"


def as_multipart(images: Sequence[bytes]) -> tuple[bytes, str]:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    return b"".join(head + image + b"\r\n" for image in images) + b"--b--\r\n", "multipart/form-data; boundary=b"


def neighbour(target: Target, key: str) -> float:
    """The 95th percentile of what a caller with ordinary photographs waits, in ms."""
    times = []
    for _ in range(NEIGHBOUR_ASKS):
        began = time.perf_counter()
        status, text = target.post("/v2/classify", PHOTO, "image/jpeg", key)
        assert status == 200, text
        times.append((time.perf_counter() - began) * 1000)
    return float(np.percentile(times, 95))


@pytest.mark.alone
def test_32_at_once_keep_nobody_else_waiting(target: Target) -> None:
    other = target.new_key()
    worst = [file for file in HOSTILE if file.in_ci]
    bodies = [file.make() for file in worst[:: max(1, len(worst) // AT_ONCE)][:AT_ONCE]]

    def attack(number: int) -> int:
        return target.post("/v2/classify", bodies[number % len(bodies)], ANY_IMAGE)[0]

    usual_ms = neighbour(target, other)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tries: list[float] = []
        # A machine that pauses for something else may spoil a try.
        while len(tries) < NEIGHBOUR_TRIES and min(tries, default=usual_ms * 2) >= usual_ms * 2:
            attacks = [pool.submit(attack, number) for number in range(AT_ONCE)]
            time.sleep(0.5)
            tries.append(neighbour(target, other))
            statuses = {attack.result() for attack in attacks}
    beside_ms = min(tries)
    print(f"p95 of a neighbour: {usual_ms:.0f} ms alone, {beside_ms:.0f} ms beside the attack; {sorted(statuses)}")
    # 503 with its Retry-After is an answer as well: the attacker has had all the places that a user may take.
    assert statuses <= {200, 400, 422, 503}
    assert beside_ms < 2 * usual_ms
    assert target.becomes_idle()


@pytest.mark.parametrize(
    ("name", "after_s"),
    [*itertools.product(LEFT, (0.05, 0.3))] if IN_FULL else zip(LEFT, (0.3, 0.05, 0.3), strict=False),
)
def test_nothing_goes_on_after_its_caller_has_gone(target: Target, name: str, after_s: float) -> None:
    data = named(name).make()
    head = (
        f"POST /v2/classify HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {target.key}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", target.server.port), timeout=60) as connection:
        connection.sendall(head.encode() + data)
        time.sleep(after_s)
    assert target.becomes_idle()
    assert target.post("/v2/classify", PHOTO, "image/jpeg")[0] == 200


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Target]:
    """A server whose time limit is shorter than an expensive image takes."""
    folder = tmp_path_factory.mktemp("hurried")
    config = folder / "bentoml.yaml"
    config.write_text(f"services:\n  ImageClassifier:\n    traffic:\n      timeout: {TIME_LIMIT_S}\n")
    server = Server(folder / "it", model_store, BENTOML_CONFIG=str(config))
    yield Target(server)
    server.end()


@pytest.mark.parametrize("name", [LONGEST, "PNG-50-megapixels-16-bit-RGBA"])
def test_nothing_goes_on_after_its_time_is_up(hurried: Target, name: str) -> None:
    target, data = hurried.rested(), named(name).make()
    status, text = target.post("/v2/classify", data, ANY_IMAGE)
    assert status in {400, 422, 504}, text
    assert target.becomes_idle()
