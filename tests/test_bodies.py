"""Bodies as curl, browsers, phones and hand-written code make them: forms, JSON and base64 in their many spellings."""

import base64
import json
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from testing.photographs import COFFEE, as_base64, encoded
from testing.servers import Server
from tests.answers import assert_problem

PHOTO = encoded(Image.open(COFFEE).convert("RGB").resize((301, 200)), "JPEG")
PLAIN = as_base64(PHOTO)
URL_SAFE = base64.urlsafe_b64encode(PHOTO).decode()
BREAKS = "\r\n".join(textwrap.wrap(PLAIN, 76))
DATA = "data:image/jpeg;base64,"
assert "+" in PLAIN
assert PLAIN.endswith("=")
assert "-" in URL_SAFE

TAKEN = {
    "plain": PLAIN,
    "without padding": PLAIN.rstrip("="),
    "URL-safe": URL_SAFE,
    "URL-safe, without padding": URL_SAFE.rstrip("="),
    "lines as openssl breaks them": "\n".join(textwrap.wrap(PLAIN, 64)) + "\n",
    "lines as MIME breaks them": BREAKS,
    "lines, without padding": BREAKS.rstrip("="),
    "URL-safe in lines": "\n".join(textwrap.wrap(URL_SAFE, 76)),
    "white space around": f" \t\r\n{PLAIN}\n\n ",
    "white space within": " ".join(textwrap.wrap(PLAIN, 1000)),
    "a data URL": DATA + PLAIN,
    "a data URL with parameters": "data:image/png;charset=utf-8;name=x.png;base64," + PLAIN,
    "a data URL with a comma in quotes": 'data:image/png;name="a, b;c.png";base64,' + PLAIN,
    "a data URL of a long name": f"data:image/png;name={'x' * 255}.png;base64," + PLAIN,
    "a data URL without a type": "data:;base64," + PLAIN,
    "a data URL of another type": "data:application/octet-stream;base64," + PLAIN,
    "a data URL in capitals": "DATA:IMAGE/JPEG;BASE64," + PLAIN,
    "a data URL with spaces": " data:image/jpeg; base64, " + PLAIN,
    "a data URL that is escaped": DATA + quote(PLAIN, safe=""),
    "a data URL that is escaped in small letters": DATA
    + quote(PLAIN, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
    "a data URL in lines": DATA + BREAKS,
    "a data URL with escaped lines": DATA + quote(BREAKS, safe="/+"),
    "a data URL, URL-safe and without padding": DATA + URL_SAFE.rstrip("="),
}
REFUSED = {
    "words": "this is no image!",
    "an address": "https://example.org/photo.jpg",
    "a path": "photo.jpg",
    "both alphabets": PLAIN.replace("+", "-", 1),
    "padding in the middle": PLAIN + PLAIN,
    "padding that is too short": as_base64(b"\xff\xd8\xff1234"[:7]).replace("==", "="),
    "padding that is too long": PLAIN.rstrip("=") + "====",
    "one character too many": PLAIN.rstrip("=")[: len(PLAIN) // 4 * 4 - 4] + "A",
    "quotes": f'"{PLAIN}"',
    "escapes outside of a data URL": quote(PLAIN, safe=""),
    "escapes twice": DATA + quote(quote(PLAIN, safe=""), safe=""),
    "a data URL that is not base64": "data:image/jpeg," + quote(PHOTO),
    "a data URL without its data": "data:image/jpeg;base64",
    "a data URL in a data URL": DATA + DATA + PLAIN,
    "other letters": PLAIN[:100] + "\u0430" + PLAIN[101:],
    "a character of no width": "\ufeff" + PLAIN[:50] + "\u200b" + PLAIN[50:],
}
Send = Callable[[httpx.Client, str], httpx.Response]


def as_form(text: str) -> dict[str, Any]:
    return {"files": [("image", (None, text))]}


# Each answers with one image: by itself, or as the only one of a batch.
WAYS: dict[str, Send] = {
    "v1, JSON": lambda client, text: client.post("/v1/classify", json={"image": text}),
    "v2, JSON": lambda client, text: client.post("/v2/classify", json={"image": text}),
    "v2, form": lambda client, text: client.post("/v2/classify", **as_form(text)),
    "batch, JSON": lambda client, text: client.post("/v2/classify/batch", json={"images": [text]}),
    "batch, form": lambda client, text: client.post("/v2/classify/batch", **as_form(text)),
}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client(server.create_key("bodies@example.org", "--limit", "1000000/minute")["key"]) as client:
        yield client


def first_label(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    [entry] = body.get("results", [body])
    assert "predictions" in entry, entry
    return str(entry["predictions"][0]["label"])


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """What is said of an image, which is alone or the only one of a batch."""
    if answer.status_code != 200:
        return assert_problem(answer, answer.status_code)
    [entry] = answer.json()["results"]
    assert entry["error"]["detail"].endswith(".")
    return dict(entry["error"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spelling", TAKEN)
def test_base64_is_taken_as_it_is_made(client: httpx.Client, way: str, spelling: str) -> None:
    assert first_label(WAYS[way](client, TAKEN[spelling])) == "espresso"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spelling", REFUSED)
def test_what_is_no_base64_is_told(client: httpx.Client, way: str, spelling: str) -> None:
    problem = refusal(WAYS[way](client, REFUSED[spelling]))
    assert (problem["status"], problem["field"]) == (400, "image")
    # Letters and digits alone may be base64 of something, though of no image.
    assert "base64" in problem["detail"] or "JPEG" in problem["detail"]


def test_an_empty_text_is_an_empty_image(client: httpx.Client) -> None:
    for text in ("", " \n", DATA):
        for name, way in WAYS.items():
            problem = refusal(way(client, text))
            assert (problem["status"], problem["field"]) == (400, "image"), name


JSON_BODY = json.dumps({"image": PLAIN}).encode()
JSON_TAKEN = {
    "a byte order mark": (b"\xef\xbb\xbf" + JSON_BODY, "application/json"),
    "a charset": (JSON_BODY, "application/json; charset=utf-8"),
    "a charset in quotes": (JSON_BODY, 'Application/JSON;Charset="UTF-8"'),
    "another charset of the same bytes": (JSON_BODY, "application/json; charset=iso-8859-1"),
    "white space around": (b"\r\n\t " + JSON_BODY + b"\r\n", "application/json"),
    "lines within the string, as a shell makes them": (
        b'{"image": "' + BREAKS.replace("\r", "").encode() + b'"}',
        "application/json",
    ),
    "the same with CRLF": (b'{\r\n"image": "' + BREAKS.encode() + b'\r\n"\r\n}', "application/json"),
    "what it does not know": (b'{"image": "' + PLAIN.encode() + b'", "\xc3\xa9": [1, {}]}', "application/json"),
    "an encoding that changes nothing": (JSON_BODY, "application/json"),
}


@pytest.mark.parametrize("path", ["/v1/classify", "/v2/classify"])
@pytest.mark.parametrize("case", JSON_TAKEN)
def test_json_is_taken_as_it_is_made(client: httpx.Client, path: str, case: str) -> None:
    content, kind = JSON_TAKEN[case]
    coding = {"Content-Encoding": "identity"} if case.startswith("an encoding") else {}
    assert first_label(client.post(path, content=content, headers={"Content-Type": kind} | coding)) == "espresso"


@pytest.mark.parametrize("path", ["/v1/classify", "/v2/classify", "/v2/classify/batch"])
@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_that_is_not_utf_8_is_told(client: httpx.Client, path: str, coding: str) -> None:
    content = json.dumps({"image": PLAIN}).encode(coding)
    problem = assert_problem(client.post(path, content=content, headers={"Content-Type": "application/json"}), 400)
    assert "UTF-8" in problem["detail"]


@pytest.mark.parametrize(
    "content", [b'{"image": "\x00"}', b'{"im\nage"', b"tr\nue", b'{"image": 1\n2}', b"\xef\xbb\xbf"]
)
def test_what_is_still_no_json(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/v1/classify", content=content, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400)


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "GZip", "identity, gzip", "identity; gzip"])
@pytest.mark.parametrize("path", ["/v1/classify", "/v2/classify", "/v2/classify/batch"])
def test_a_body_that_is_compressed_is_told(client: httpx.Client, path: str, coding: str) -> None:
    # A semicolon stands for a further header, which means the same as a comma.
    headers = [("Content-Type", "application/json"), *(("Content-Encoding", one) for one in coding.split("; "))]
    answer = client.post(path, content=JSON_BODY, headers=headers)
    assert "Content-Encoding" in assert_problem(answer, 415)["detail"]
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("way", ["v1, JSON", "v2, form"])
@pytest.mark.parametrize("piece", ["%2b", "%", "%0a", " ", "-", "A\n", "A-+"], ids=repr)
def test_no_spelling_keeps_others_waiting(server: Server, client: httpx.Client, way: str, piece: str) -> None:
    text = DATA + piece * (10_000_000 // len(piece))
    [worker] = server.workers("ImageClassifier")
    before = worker.cpu_times()
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(WAYS[way], client, text)
        while not large.done():
            assert httpx.get(f"{server.url}/livez").status_code == 200
    after = worker.cpu_times()
    refusal(large.result())
    # Processor time: no pause of the event loop was longer.
    assert after.user + after.system - before.user - before.system < 1.5
