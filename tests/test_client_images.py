"""What the client takes as an image, and how it sends and reads batches, against a server that the test plays."""

import io
import json
from pathlib import Path
from typing import Any

import classifier_client as cc
import httpx
import numpy as np
import pytest
from classifier_client.keys import is_key
from PIL import Image

from tests.played_server import ENTRY, MODEL, World, problem

PIXELS = np.arange(18, dtype=np.uint8).reshape(3, 2, 3) * 14


class Received(io.BytesIO):
    """A file as web frameworks hand it over, such as Flask in `request.files`."""

    def save(self, path: str) -> None:
        """Write the file."""
        Path(path).write_bytes(self.getvalue())


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
        for image in (path, str(path), data, bytearray(data), memoryview(data), file, io.BytesIO(data), Received(data)):
            assert sent_for(image) == data
    pictures: list[Any] = [PIXELS, Image.fromarray(PIXELS), Image.fromarray(PIXELS).convert("RGBA").convert("RGB")]
    for image in pictures:
        received = Image.open(io.BytesIO(sent_for(image)))
        assert received.format == "PNG"
        assert np.array_equal(np.asarray(received.convert("RGB")), np.asarray(image))
    grey = Image.open(io.BytesIO(sent_for(PIXELS[:, :, 0])))
    assert grey.mode == "L"
    assert Image.open(io.BytesIO(sent_for(Image.new("CMYK", (2, 2))))).mode == "RGB"


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_an_image_of_pillow_keeps_its_16_bits(mode: str) -> None:
    """Pillow opens 16-bit TIFF files so."""
    samples = np.array([[0, 1, 255], [256, 40_000, 65_535]], np.uint16)
    written = samples.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    received = Image.open(io.BytesIO(sent_for(Image.frombytes(mode, (3, 2), written))))
    assert np.array_equal(np.asarray(received), samples)


@pytest.mark.parametrize("mode", ["PA", "RGBa", "La", "RGBA", "LA"])
def test_an_image_of_pillow_stays_transparent(mode: str) -> None:
    image = Image.new("LA" if mode == "La" else "RGBA", (2, 2))
    image.putalpha(Image.fromarray(np.array([[0, 255], [100, 200]], np.uint8)))
    received = Image.open(io.BytesIO(sent_for(image.convert(mode))))
    assert np.array_equal(np.asarray(received.getchannel("A")), [[0, 255], [100, 200]])


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
        (Image.new("I", (3, 2), 40_000), cc.InvalidImage, "mode I does not say"),
        (Image.new("F", (3, 2), 0.5), cc.InvalidImage, "mode F does not say"),
        (io.StringIO("text"), TypeError, "mode 'rb'"),
        (7, TypeError, "int"),
    ],
)
def test_what_is_no_image_is_told_before_anything_is_sent(image: Any, error: type[Exception], says: str) -> None:
    world = World([])
    with world.client() as client, pytest.raises(error, match=says):
        client.classify(image)
    assert world.requests == []


def test_an_empty_batch_is_told_before_anything_is_sent() -> None:
    world = World([])
    with world.client() as client:
        with pytest.raises(cc.InvalidImage, match="at least one"):
            client.classify_batch([])
        with pytest.raises(cc.InvalidImage, match="at least one"):
            list(client.classify_batch_stream([]))
    assert world.requests == []


def test_a_file_that_can_be_opened_and_not_read_is_named() -> None:
    with World([]).client() as client:
        [outcome] = client.classify_many(["/proc/self/mem"])
    assert isinstance(outcome.error, OSError)
    assert outcome.error.filename == "/proc/self/mem"


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


@pytest.mark.parametrize("fault", [problem(502), problem(504), httpx.ReadError("cut")], ids=["502", "504", "cut"])
def test_a_streamed_batch_that_may_be_paid_is_not_sent_again(fault: httpx.Response | Exception) -> None:
    """Without an idempotency key, the server would count it again."""
    world = World([fault])
    with world.client() as client, pytest.raises(cc.ClassifierError):
        list(client.classify_batch_stream([b"one", b"two"]))
    assert len(world.requests) == 1


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
