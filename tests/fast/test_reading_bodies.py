"""How bodies are read: JSON, base64 and multipart forms as clients write them, and what is refused with which words."""

import base64
import json
from typing import Any

import httpx
import pytest

from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from tests.answers import assert_problem

pytestmark = pytest.mark.anyio

YELLOW = image_of("yellow", "GIF")
TEXT = as_base64(YELLOW)
URL_SAFE = base64.urlsafe_b64encode(YELLOW).decode()
LINES = "\n".join(TEXT[place : place + 20] for place in range(0, len(TEXT), 20))
MULTIPART = "multipart/form-data; boundary=x"


async def post_json(gateway: InProcessGateway, content: bytes, path: str = "/v2/classify") -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return await gateway.request("POST", path, gateway.new_key(), content=content, headers=headers)


async def post_form(
    gateway: InProcessGateway, content: bytes, kind: str = MULTIPART, path: str = "/v2/classify"
) -> httpx.Response:
    return await gateway.request("POST", path, gateway.new_key(), content=content, headers={"Content-Type": kind})


def part(data: bytes = YELLOW, name: str = 'name="image"; filename="photo.gif"', *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {name}", *headers]
    return b"--x\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + data + b"\r\n"


def label(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictions"][0]["label"])


@pytest.mark.parametrize(
    "written",
    [
        TEXT,
        LINES,
        "  " + TEXT + "\n",
        TEXT.rstrip("="),
        URL_SAFE,
        URL_SAFE.rstrip("="),
        f"data:image/gif;base64,{TEXT}",
        "DATA:;base64," + TEXT.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
    ],
)
async def test_base64_is_taken_as_it_is_written(gateway: InProcessGateway, written: str) -> None:
    assert label(await post_json(gateway, json.dumps({"image": written}).encode())) == "yellow"


@pytest.mark.parametrize("written", ["%%%%", "data:image/gif,raw", "AA-A+AAA", "data:;base64," + "%2B" * 200_000, "ä"])
async def test_other_text_is_no_base64(gateway: InProcessGateway, written: str) -> None:
    answer = await post_json(gateway, json.dumps({"image": written}).encode())
    assert assert_problem(answer, 400)["field"] == "image"


@pytest.mark.parametrize("written", ["", "  ", "data:;base64,"])
async def test_an_empty_image_is_told(gateway: InProcessGateway, written: str) -> None:
    assert "empty" in assert_problem(await post_json(gateway, json.dumps({"image": written}).encode()), 400)["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + json.dumps({"image": TEXT}).encode(),
        f'{{"image": "{LINES}"}}'.encode(),
        json.dumps({"image": TEXT, "other": [1, {}]}, indent=3).encode(),
    ],
)
async def test_json_is_taken_as_shells_and_editors_write_it(gateway: InProcessGateway, content: bytes) -> None:
    assert label(await post_json(gateway, content)) == "yellow"


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 400, "not valid JSON"),
        (b'{"image": ', 400, "not valid JSON"),
        (f'{{"image": "{TEXT}", "other": NaN}}'.encode(), 400, "not valid JSON"),
        (f'{{"image": "{TEXT}", "min_confidence": -Infinity}}'.encode(), 400, "not valid JSON"),
        (b'{"image": Infinity}', 400, "not valid JSON"),
        (f'{{"image": "{LINES}" '.encode(), 400, "not valid JSON"),
        (json.dumps({"image": TEXT}).encode("utf-16-le"), 400, "UTF-8"),
        (b'{"image": "AAAA", "other": ' + b"[" * 2000 + b"]" * 2000 + b"}", 400, "not valid JSON"),
        (b'{"image": "AAAA", "other": [' + b"0," * 20_000 + b"0]}", 422, "'body' holds too many values"),
        # One comma or bracket too many, and as many as may be. The body itself has one of each, and `other` a bracket.
        (b'{"image": "AAAA", "other": [' + b"0," * 10_000 + b"0]}", 422, "'body' holds too many values"),
        (b'{"image": "AAAA", "other": [' + b"0," * 9_999 + b"0]}", 400, "no image of a known format"),
        (b'{"image": "AAAA", "other": [' + b"{}," * 500 + b"[]," * 498 + b"[]]}", 400, "not valid JSON"),
        (b'{"image": "AAAA", "other": [' + b"{}," * 500 + b"[]," * 497 + b"[]]}", 400, "no image of a known format"),
        (b'"AAAA"', 422, "must be a JSON object"),
        (b'{"image": null}', 422, "'image' is wrong"),
        (b'{"image": "AAAA", "top_k": "5"}', 422, "'top_k' is wrong"),
        (b'{"image": "AAAA", "top_k": 0}', 422, "'top_k' is wrong"),
    ],
)
async def test_json_that_is_wrong_is_told_why(
    gateway: InProcessGateway, content: bytes, status: int, says: str
) -> None:
    assert says in assert_problem(await post_json(gateway, content), status)["detail"]


async def test_a_batch_of_too_many_values_names_its_field(gateway: InProcessGateway) -> None:
    content = b'{"images": [' + b'"",' * 20_000 + b'""]}'
    answer = await post_json(gateway, content, "/v2/classify/batch")
    assert assert_problem(answer, 422)["field"] == "images"


@pytest.mark.parametrize(
    "content",
    [
        part() + b"--x--\r\n",
        b"A preamble for people.\r\n" + part() + b"--x--\r\nAn epilogue.",
        part(TEXT.encode(), 'name="image"') + b"--x--",
        part(TEXT.encode(), 'name="image"; filename="photo.txt"', "Content-Transfer-Encoding: BASE64") + b"--x--",
        part(b"\xef\xbb\xbf" + LINES.encode(), 'name="images"') + b"--x--",
        part(b"no image", 'name="other"; filename="a.txt"') + part() + b"--x--",
        part(b"", 'name="image"; filename=""') + part() + b"--x--",
        # (Data that only looks like the end of a part, as often as is allowed.)
        part(YELLOW + b"\r\n--xA" * 999) + b"--x--",
    ],
)
async def test_a_form_is_taken_as_clients_write_it(gateway: InProcessGateway, content: bytes) -> None:
    assert label(await post_form(gateway, content)) == "yellow"


async def test_a_form_may_come_byte_by_byte(gateway: InProcessGateway, key: IssuedKey) -> None:
    exchange = gateway.exchange("/v2/classify", key, content_type=MULTIPART)
    content = b"A preamble\r\n" + part() + b"--x--\r\n"
    for place in range(len(content)):
        exchange.send(content[place : place + 1], more=place < len(content) - 1)
    assert label(await exchange.answer()) == "yellow"


async def test_of_an_option_that_comes_twice_the_last_counts(gateway: InProcessGateway) -> None:
    options = part(b"1", 'name="top_k"') + part(b"3", 'name="top_k"')
    answer = await post_form(gateway, options + part() + b"--x--")
    assert len(answer.json()["predictions"]) == 3


@pytest.mark.parametrize(
    ("kind", "content", "status", "says"),
    [
        ("multipart/form-data", part() + b"--x--", 400, "boundary"),
        (MULTIPART, b"", 400, "malformed"),
        (MULTIPART, part(), 400, "malformed"),
        (MULTIPART, b"--x\r\nno header\r\n\r\n", 400, "malformed"),
        (MULTIPART, b"--x\r\nContent-Type: image/gif\r\n\r\n" + YELLOW + b"\r\n--x--", 400, "malformed"),
        (MULTIPART, part(YELLOW + b"\r\n--xA" * 1000) + b"--x--", 400, "malformed"),
        (MULTIPART, part(b"1", 'name="top_k"') * 21 + part() + b"--x--", 400, "too many fields"),
        (MULTIPART, part() * 2 + b"--x--", 422, "/v2/classify/batch takes several"),
        (MULTIPART, part(b"1", 'name="top_k"') + b"--x--", 422, "'image' is missing"),
        (MULTIPART, part(YELLOW, 'name="file"; filename="a.gif"') + b"--x--", 422, "under another name"),
        (MULTIPART, part(b"some words", 'name="image"') + b"--x--", 400, "text that is not base64"),
        (
            MULTIPART,
            part(b"some words", 'name="image"; filename="a.txt"') + b"--x--",
            400,
            "no image of a known format",
        ),
    ],
)
async def test_a_form_that_is_wrong_is_told_why(
    gateway: InProcessGateway, kind: str, content: bytes, status: int, says: str
) -> None:
    assert says in assert_problem(await post_form(gateway, content, kind), status)["detail"]


async def test_a_form_that_is_cut_off_is_told(gateway: InProcessGateway, key: IssuedKey) -> None:
    exchange = gateway.exchange("/v2/classify", key, content_type=MULTIPART)
    exchange.send(part()[:-10])
    exchange.disconnect()
    assert "before the whole body" in assert_problem(await exchange.answer(), 400)["detail"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
async def test_each_format_is_decoded_in_a_batch_and_alone(
    gateway: InProcessGateway, key: IssuedKey, kind: str
) -> None:
    file = image_of("red", kind, (40, 30))
    alone = await gateway.request("POST", "/v2/classify", key, content=file, headers={"Content-Type": "image/png"})
    assert label(alone) == "red"
    assert alone.json()["image"] == {"width": 40, "height": 30, "format": kind}
    files: list[Any] = [("image", ("photo", file))] * 2
    batch = await gateway.request("POST", "/v2/classify/batch", key, files=files)
    assert [entry["predictions"][0]["label"] for entry in batch.json()["results"]] == ["red", "red"]


async def test_a_large_image_is_decoded_beside_small_ones(gateway: InProcessGateway, key: IssuedKey) -> None:
    files: list[Any] = [
        ("image", ("large.png", image_of("blue", size=(2400, 1200)))),
        ("image", ("small.png", image_of("green"))),
    ]
    batch = await gateway.request("POST", "/v2/classify/batch", key, files=files)
    entries = batch.json()["results"]
    assert [entry["predictions"][0]["label"] for entry in entries] == ["blue", "green"]
    assert entries[0]["image"] == {"width": 2400, "height": 1200, "format": "PNG"}
