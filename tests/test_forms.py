"""`multipart/form-data`, written by hand: what clients write differently, and what is no form any more."""

import time
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from testing.photographs import CAT, COFFEE, encoded
from testing.servers import Server
from tests.answers import assert_problem
from tests.form_parts import BASE64, BOUNDARIES, IMAGE_PARTS, MALFORMED, PHOTO, Part, form, part

BOTH = ["/v2/classify", "/v2/classify/batch"]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client(server.create_key("forms@example.org", "--limit", "1000000/minute")["key"]) as client:
        yield client


def post(client: httpx.Client, path: str, body: bytes, kind: str = "multipart/form-data; boundary=x") -> httpx.Response:
    return client.post(path, content=body, headers={"Content-Type": kind})


def labels(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return [entry["predictions"][0]["label"] for entry in body.get("results", [body])]


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("case", IMAGE_PARTS)
def test_an_image_is_taken_as_it_is_sent(client: httpx.Client, path: str, case: str) -> None:
    assert labels(post(client, path, form(IMAGE_PARTS[case]))) == ["espresso"]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_no_format_is_taken_for_text(client: httpx.Client, kind: str) -> None:
    photo = Image.open(COFFEE).convert("RGB").resize((32, 32))
    for header in ('name="image"', 'name="image"; filename="x"'):
        answer = post(client, "/v2/classify", form(part(header, encoded(photo, kind))))
        assert answer.json()["image"] == {"width": 32, "height": 32, "format": kind}


@pytest.mark.parametrize("written", BOUNDARIES)
def test_boundaries(client: httpx.Client, written: str) -> None:
    body = form(part(), part("name=top_k", b"2"), boundary=BOUNDARIES[written])
    for kind in (f"multipart/form-data; boundary={written}", f"Multipart/Form-Data;  BOUNDARY={written}"):
        answer = post(client, "/v2/classify", body, kind)
        assert labels(answer) == ["espresso"]
        assert len(answer.json()["predictions"]) == 2


@pytest.mark.parametrize("path", BOTH)
def test_what_stands_around_the_parts_is_left_out(client: httpx.Client, path: str) -> None:
    body = form(part(), part("name=top_k", b"2"))
    for before in (
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"This is a form.\r\n",
        b"--y\r\nThis is -- a form. --x \r\n",
        b"a\r\n" * 9,
    ):
        for after in (b"", b"\r\n", b"The end.", b"\r\n--x\r\nnot a part", bytes(100_000)):
            answer = post(client, path, before + body + after)
            assert labels(answer) == ["espresso"], (before, after)
    assert labels(post(client, path, body.removesuffix(b"\r\n"))) == ["espresso"]
    padded = body.replace(b"\r\n--x\r\n", b"\r\n--x \t\r\n")
    assert labels(post(client, path, padded)) == ["espresso"]


def test_a_preamble_may_come_in_pieces(client: httpx.Client) -> None:
    whole = b"preamble\r\n--\r\n--y\r\n" * 3 + form(part())

    def byte_by_byte() -> Iterator[bytes]:
        for number in range(150):
            yield whole[number : number + 1]
            if number % 30 == 0:
                time.sleep(0.02)
        yield whole[150:]

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert labels(client.post("/v2/classify", content=byte_by_byte(), headers=headers)) == ["espresso"]


@pytest.mark.parametrize("path", BOTH)
def test_other_fields_do_no_harm(client: httpx.Client, path: str) -> None:
    long = part("name=note", b"x" * 12_000)
    several = [part(f"name=field{number}", b"y" * 100_000) for number in range(15)]
    file = part('name="thumbnail"; filename="t.jpg"', PHOTO)
    for parts in ([part(), long], [long, part()], [*several, part()], [part(), *several], [file, part(), file]):
        assert labels(post(client, path, form(*parts))) == ["espresso"]


def test_options_stand_before_or_behind_and_the_last_counts(client: httpx.Client) -> None:
    def count(*parts: Part, query: str = "") -> int:
        answer = post(client, f"/v2/classify{query}", form(*parts))
        assert answer.status_code == 200, answer.text
        return len(answer.json()["predictions"])

    two, three = part("name=top_k", b"2"), part("name=top_k", b"3", "Content-Type: text/plain")
    assert count(two, part()) == count(part(), two) == 2
    assert count(two, part(), three) == count(two, three, part()) == 3
    assert count(three, part(), two) == 2
    assert count(part(), two, query="?top_k=4") == 2
    assert count(part(), query="?top_k=4&top_k=1") == 1
    assert count(part(), part('name="top_k"; filename="x"', b"2")) == 2
    wrong = post(client, "/v2/classify", form(part(), two, part("name=top_k", b"no")))
    assert assert_problem(wrong, 422)["field"] == "top_k"


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("name", ["file", "image[]", "images[]", "Image", "photo", "", "upload", " image"])
def test_a_file_under_another_name_is_told_the_right_one(client: httpx.Client, path: str, name: str) -> None:
    answer = post(client, path, form(part(f'name="{name}"; filename="photo.jpg"')))
    problem = assert_problem(answer, 422)
    assert "'image'" in problem["detail"]
    assert "another name" in problem["detail"]
    assert problem["field"].startswith("image")


@pytest.mark.parametrize("path", BOTH)
def test_a_form_without_a_file(client: httpx.Client, path: str) -> None:
    unchosen = part('name="image"; filename=""', b"", "Content-Type: application/octet-stream")
    for parts in ([], [part("name=top_k", b"2")], [unchosen], [unchosen, part("name=top_k", b"2")]):
        problem = assert_problem(post(client, path, form(*parts)), 422)
        assert "'image'" in problem["detail"]


def test_a_batch_takes_files_and_texts_in_order(client: httpx.Client) -> None:
    unchosen = part('name="image"; filename=""', b"")
    parts = [part(), unchosen, part("name=image", BASE64), part(data=CAT.read_bytes()), part("name=image", b"nothing!")]
    results = post(client, "/v2/classify/batch", form(*parts)).json()["results"]
    assert [list(entry) == ["error"] for entry in results] == [False, False, False, True]
    assert results[0]["predictions"] == results[1]["predictions"]
    assert results[2]["image"]["format"] == "PNG"
    assert results[3]["error"]["status"] == 400


def test_too_many_images_are_told_whether_text_or_file(client: httpx.Client) -> None:
    for one in (part(), part("name=image", BASE64)):
        problem = assert_problem(post(client, "/v2/classify", form(one, one)), 422)
        assert (problem["field"], "too many images" in problem["detail"]) == ("image", True)
        problem = assert_problem(post(client, "/v2/classify/batch", form(*[one] * 33)), 422)
        assert (problem["field"], "too many images" in problem["detail"]) == ("images", True)
        assert len(labels(post(client, "/v2/classify/batch", form(*[one] * 32)))) == 32


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_form(server: Server, client: httpx.Client, path: str, case: str) -> None:
    before = server.log.read_text()
    problem = assert_problem(post(client, path, *MALFORMED[case]), 400)
    assert "multipart" in problem["detail"]
    if case == "line feeds alone":
        assert "CRLF" in problem["detail"]
    if case == "many fields":
        assert "fields" in problem["detail"]
    # One line, which names the route: nothing of what a library makes of it.
    [line] = server.log.read_text().removeprefix(before).splitlines()
    assert f"POST {path} 400" in line


def hostile(pattern: bytes) -> bytes:
    return form(part(data=(pattern * (9_000_000 // len(pattern)))))


@pytest.mark.parametrize(
    "pattern", [b"\r", b"\r\n", b"\r\n-", b"\r\n--", b"\r\n--x-", b"\r\n--x\r", b"\r\n--xx", b"-", b"--x\r\n"], ids=repr
)
@pytest.mark.parametrize("where", ["part", "preamble", "field"])
def test_what_looks_like_a_boundary_costs_little(
    server: Server, client: httpx.Client, pattern: bytes, where: str
) -> None:
    body = {
        "part": hostile(pattern),
        "preamble": pattern * (9_000_000 // len(pattern)),
        "field": form(part("name=top_k", pattern * (9_000_000 // len(pattern)))),
    }[where]
    [worker] = server.workers("ImageClassifier")
    before = worker.cpu_times()
    answer = post(client, "/v2/classify", body)
    after = worker.cpu_times()
    assert answer.status_code in (400, 422)
    assert after.user + after.system - before.user - before.system < 1.5
