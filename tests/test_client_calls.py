"""The client against a server that the test plays: what it sends, when it tries again, and what it raises.

The server is a function behind httpx; the time is the test's own, and moves only when the client waits.
"""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import classifier_client as cc
import httpx
import numpy as np
import pytest
from classifier_client import AsyncClient, Client, Pace, Retries, TimeLimits
from classifier_client.keys import is_key
from PIL import Image

KEY = "imc_0123456789AB_0123456789ABCDEFGHIJKLMNOPQRSTUV"
MODEL = {"name": "m", "revision": "1", "engine": "openvino", "precision": "f32"}
ENTRY = {
    "predictions": [{"label": "cup", "class_id": 7, "confidence": 0.9}],
    "image": {"width": 2, "height": 3, "format": "PNG"},
}
RESULT = {"id": "req_1", "model": MODEL, **ENTRY}


def problem(status: int, retry_after: int | None = None, **more: Any) -> httpx.Response:
    headers = {"X-Request-ID": "req_9", **({"Retry-After": str(retry_after)} if retry_after is not None else {})}
    body = {"type": "about:blank", "title": "No", "status": status, "detail": f"Do better than {status}.", **more}
    return httpx.Response(status, json={**body, "request_id": "req_9"}, headers=headers)


@dataclass
class World:
    """The server, and the time."""

    answers: list[httpx.Response | Exception]
    now_s: float = 0.0
    waits: list[float] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    part: float = 0.5

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self.answers.pop(0) if self.answers else httpx.Response(200, json=RESULT)
        if isinstance(found, Exception):
            raise found
        if not isinstance(found.stream, httpx.ByteStream):
            return found
        # An answer can be read once, and some are parameters of several tests.
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def options(self) -> dict[str, Any]:
        return {
            "transport": httpx.MockTransport(self.answer),
            "pace": Pace(lambda: self.now_s, self.sleep, self.sleep_async, lambda: self.part),
        }

    def client(self, **options: Any) -> Client:
        return Client("http://server", KEY, **self.options(), **options)


async def classify_async(world: World, **options: Any) -> cc.Classification:
    async with AsyncClient("http://server", KEY, **world.options(), **options) as client:
        return await client.classify(b"image")


def classify_sync(world: World, **options: Any) -> cc.Classification:
    with world.client(**options) as client:
        return client.classify(b"image")


@pytest.fixture(params=["sync", "async"])
def classify(request: pytest.FixtureRequest) -> Iterator[Callable[..., cc.Classification]]:
    """Both clients do the same: each test that takes this runs with each of them."""
    if request.param == "sync":
        yield classify_sync
        return
    import asyncio

    with asyncio.Runner() as runner:
        yield lambda world, **options: runner.run(classify_async(world, **options))


Classify = Callable[..., cc.Classification]


def test_an_image_is_classified(classify: Classify) -> None:
    world = World([])
    result = classify(world)
    assert result.label == "cup"
    assert result.predictions == (cc.Prediction("cup", 7, 0.9),)
    assert result.image == cc.ImageInfo(2, 3, "PNG")
    [sent] = world.requests
    assert (sent.method, sent.url.path, sent.content) == ("POST", "/v2/classify", b"image")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "fault",
    [problem(429, 7), problem(503, 7), httpx.ConnectError("no"), httpx.ReadError("cut"), httpx.ReadTimeout("late")],
    ids=["429", "503", "unreachable", "cut", "late"],
)
def test_a_fault_that_passes_is_tried_again_as_the_same_request(
    classify: Classify, fault: httpx.Response | Exception
) -> None:
    world = World([fault])
    assert classify(world).label == "cup"
    first, second = world.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.content == second.content
    assert classify(world).label == "cup"
    assert world.requests[2].headers["idempotency-key"] != first.headers["idempotency-key"]
    [wait] = world.waits
    assert wait == (7.25 if isinstance(fault, httpx.Response) else 0.25), "Retry-After, and half of the jitter"


def test_waits_double_at_most_to_the_longest_and_end(classify: Classify) -> None:
    world = World([problem(503) for _ in range(9)], part=1.0)
    with pytest.raises(cc.Overloaded):
        classify(world, retries=Retries(most=4, first=1, longest=5))
    assert world.waits == [1, 2, 4, 5]
    without_luck = World([problem(503)], part=0.0)
    classify(without_luck)
    assert without_luck.waits == [0.0], "full jitter begins at zero"


def test_a_limit_is_waited_out_however_often_within_the_total_time(classify: Classify) -> None:
    world = World([problem(429, 10) for _ in range(8)], part=0.0)
    assert classify(world, retries=Retries(most=1)).label == "cup"
    assert world.waits == [10] * 8


def test_a_wait_beyond_the_total_time_is_not_begun(classify: Classify) -> None:
    world = World([problem(429, 100)])
    with pytest.raises(cc.LimitReached, match="Do better") as raised:
        classify(world, time_limits=TimeLimits(total=60))
    assert raised.value.retry_after == 100
    assert world.waits == []


def test_a_body_that_drips_ends_at_the_total_time() -> None:
    world = World([])

    def drip() -> Iterator[bytes]:
        for _ in range(1000):
            world.now_s += 1
            yield b" "

    world.answers = [httpx.Response(200, content=drip())]
    with pytest.raises(cc.TimedOut):
        classify_sync(world, time_limits=TimeLimits(total=30))
    assert world.now_s < 33


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(400, field="image"), cc.InvalidImage),
        (problem(400), cc.InvalidRequest),
        (problem(401), cc.AuthenticationError),
        (problem(403), cc.PermissionDenied),
        (problem(404), cc.NotFound),
        (problem(409, 1), cc.Conflict),
        (problem(413), cc.TooLarge),
        (problem(422, field="image"), cc.InvalidImage),
        (problem(422, field="top_k"), cc.InvalidRequest),
        (problem(500), cc.ServerError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value.status_code),
)
def test_what_will_not_change_is_raised_at_once(
    classify: Classify, answer: httpx.Response, error: type[cc.ClassifierError]
) -> None:
    world = World([answer])
    with pytest.raises(error) as raised:
        classify(world)
    assert type(raised.value) is error
    assert len(world.requests) == 1
    assert raised.value.status == answer.status_code
    assert raised.value.request_id == "req_9"
    assert str(raised.value) == raised.value.detail == f"Do better than {answer.status_code}."
    assert KEY not in repr(raised.value)


def test_a_used_up_quota_is_told_from_a_limit(classify: Classify) -> None:
    world = World([problem(429, 86_400, type="https://server/problems/quota-exceeded")])
    with pytest.raises(cc.QuotaExceeded) as raised:
        classify(world)
    assert raised.value.type.endswith("quota-exceeded")
    assert world.waits == []


def test_the_answer_of_a_try_that_is_still_under_way_is_waited_for(classify: Classify) -> None:
    world = World([httpx.ReadError("cut"), problem(409, 1), problem(409, 1)], part=0.0)
    assert classify(world).label == "cup"
    assert world.waits == [0, 1, 1]


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"id": 1}', b"null", b""])
def test_an_answer_of_something_else_is_one_clear_error(classify: Classify, body: bytes) -> None:
    with pytest.raises(cc.UnexpectedAnswer, match="check the address"):
        classify(World([httpx.Response(200, content=body)]))


def test_an_error_of_a_proxy_is_an_error_too(classify: Classify) -> None:
    with pytest.raises(cc.ServerError, match="502") as raised:
        classify(World([httpx.Response(502, text="<html>")]), retries=Retries(most=0))
    assert raised.value.status == 502


def test_a_key_is_replaced_once_even_if_the_answer_is_lost() -> None:
    for fault in (httpx.ReadError("cut"), problem(503, 1)):
        world = World([fault])
        with world.client() as client, pytest.raises(cc.ClassifierError):
            client.rotate_key("abc")
        assert len(world.requests) == 1
    new = {"key_id": "n", "key": KEY, "scopes": ["keys"], "expires_at": None}
    world = World([httpx.ConnectError("no"), httpx.Response(200, json=new)])
    with world.client() as client:
        made = client.rotate_key("a/../b", grace="1h")
    assert KEY not in repr(made)
    assert world.requests[1].url.raw_path == b"/v2/keys/a%2F..%2Fb/rotate"
    assert json.loads(world.requests[1].content) == {"grace": "1h"}


def test_without_key_or_with_a_wrong_address_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGE_API_KEY", raising=False)
    with pytest.raises(cc.AuthenticationError, match="IMAGE_API_KEY"):
        Client("http://server")
    with pytest.raises(cc.AuthenticationError, match="copy it once more"):
        Client("http://server", "imc_\nX: y")
    for url in ("server:3000", "ftp://server", "http://", "http://user:word@server"):
        with pytest.raises(cc.ConnectionFailed, match="https://images"):
            Client(url, KEY)


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_API_URL", "https://there.example/base/")
    monkeypatch.setenv("IMAGE_API_KEY", KEY)
    world = World([])
    with Client(**world.options()) as client:
        client.classify(b"image", top_k=3, min_confidence=0.5)
        assert KEY not in repr(client)
        assert KEY not in repr(vars(client))
    assert str(world.requests[0].url) == "https://there.example/base/v2/classify?top_k=3&min_confidence=0.5"


PIXELS = np.arange(18, dtype=np.uint8).reshape(3, 2, 3) * 14


def sent_for(image: Any) -> bytes:
    world = World([])
    with world.client() as client:
        client.classify(image)
    return world.requests[0].content


def test_everything_that_holds_an_image_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(PIXELS).save(path)
    data = path.read_bytes()
    with path.open("rb") as file:
        for image in (path, str(path), data, bytearray(data), memoryview(data), file, io.BytesIO(data)):
            assert sent_for(image) == data
    pictures: list[Any] = [PIXELS, Image.fromarray(PIXELS), Image.fromarray(PIXELS).convert("RGBA").convert("RGB")]
    for image in pictures:
        received = Image.open(io.BytesIO(sent_for(image)))
        assert received.format == "PNG"
        assert np.array_equal(np.asarray(received.convert("RGB")), np.asarray(image))
    grey = Image.open(io.BytesIO(sent_for(PIXELS[:, :, 0])))
    assert grey.mode == "L"
    assert Image.open(io.BytesIO(sent_for(Image.new("CMYK", (2, 2))))).mode == "RGB"


def test_a_turned_photo_of_pillow_is_sent_upright(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (20, 10)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    received = Image.open(io.BytesIO(sent_for(Image.open(tmp_path / "turned.jpg"))))
    assert received.size == (10, 20)
    assert 0x0112 not in received.getexif()


@pytest.mark.parametrize(
    ("image", "error", "says"),
    [
        (b"", cc.InvalidImage, "empty"),
        ("https://example.org/cat.jpg", cc.InvalidImage, "download"),
        ("no-such-file.jpg", FileNotFoundError, "no-such-file"),
        (np.zeros((3, 2)), cc.InvalidImage, "uint8"),
        (np.zeros((3, 2, 5), np.uint8), cc.InvalidImage, r"\(3, 2, 5\)"),
        (io.StringIO("text"), TypeError, "mode 'rb'"),
        (7, TypeError, "int"),
    ],
)
def test_what_is_no_image_is_told_before_anything_is_sent(image: Any, error: type[Exception], says: str) -> None:
    world = World([])
    with world.client() as client, pytest.raises(error, match=says):
        client.classify(image)
    assert world.requests == []


def test_batches_have_an_entry_for_each_image() -> None:
    bad = {"error": {"type": "about:blank", "title": "No", "status": 400, "detail": "No image.", "field": "image"}}
    world = World([httpx.Response(200, json={"id": "req_1", "model": MODEL, "results": [ENTRY, bad]})])
    with world.client() as client:
        batch = client.classify_batch([b"one", b"two"], top_k=1)
    assert [entry.index for entry in batch.entries] == [0, 1]
    assert batch.entries[0].predictions[0].label == "cup"
    assert isinstance(batch.entries[1].error, cc.InvalidImage)
    sent = world.requests[0]
    assert sent.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert sent.content.count(b'name="image"') == 2


LINES = [{"index": 1, **ENTRY}, {"index": 0, "error": {"status": 503, "detail": "Again.", "type": "about:blank"}}]


def lines(*documents: Any) -> httpx.Response:
    return httpx.Response(200, content="".join(json.dumps(line) + "\n" for line in documents).encode())


def test_a_batch_can_be_read_as_it_is_done() -> None:
    world = World([problem(429, 3), lines(*LINES)])
    with world.client() as client:
        first, second = client.classify_batch_stream([b"one", b"two"])
    assert (first.index, second.index) == (1, 0)
    assert isinstance(second.error, cc.Overloaded)
    assert world.requests[1].headers["accept"] == "application/x-ndjson"
    assert "idempotency-key" not in world.requests[1].headers, "the server would answer only once all images are done"


def test_a_stream_that_ends_early_is_an_error() -> None:
    with World([lines(LINES[0])]).client() as client, pytest.raises(cc.ConnectionFailed, match="1 image"):
        list(client.classify_batch_stream([b"one", b"two"]))
    late = {"error": {"status": 504, "detail": "Too long.", "type": "about:blank"}}
    with World([lines(LINES[0], late)]).client() as client, pytest.raises(cc.TimedOut):
        list(client.classify_batch_stream([b"one", b"two"]))


def test_the_checksum_tells_a_typing_error_offline() -> None:
    from auth.api_key import ApiKey

    key = ApiKey.generate().reveal()
    assert is_key(key)
    assert not is_key(key[:-1] + ("a" if key[-1] != "a" else "b"))
    assert not is_key("imc_wrong")
