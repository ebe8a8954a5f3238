"""POST /v1/classify: what a caller gets for a photograph, and for what is none."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from testing.photographs import CAT, COFFEE, as_base64, encoded
from testing.servers import Server
from tests.answers import assert_problem

STAND_IN = "efficientnet-lite0-offline-stand-in"


def classify(caller: httpx.Client, image: str, **more: Any) -> httpx.Response:
    return caller.post("/v1/classify", json={"image": image, **more})


def test_coffee_is_espresso(caller: httpx.Client) -> None:
    answer = classify(caller, as_base64(COFFEE.read_bytes()), filename="coffee.png")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"predictions", "model"}
    assert body["model"] == STAND_IN
    assert body["predictions"][0]["label"] == "espresso"
    assert body["predictions"][0]["confidence"] > 0.8
    shares = [prediction["confidence"] for prediction in body["predictions"]]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert all(round(share, 4) == share for share in shares)


def test_labels_are_those_of_the_hubs_checkpoint(caller: httpx.Client) -> None:
    labels = [found["label"] for found in classify(caller, as_base64(CAT.read_bytes())).json()["predictions"]]
    assert "tabby, tabby cat" in labels


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda text: "data:image/png;base64," + text, id="data-url"),
        pytest.param(lambda text: "DATA:image/png;charset=x;BASE64," + text, id="data-url-in-capitals"),
        pytest.param(lambda text: "\n".join(text[i : i + 76] for i in range(0, len(text), 76)), id="wrapped-lines"),
    ],
)
def test_base64_may_be_written_in_several_ways(caller: httpx.Client, written: Callable[[str], str]) -> None:
    text = as_base64(COFFEE.read_bytes())
    assert classify(caller, written(text)).json() == classify(caller, text).json()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_of_the_contract_is_read(caller: httpx.Client, kind: str) -> None:
    answer = classify(caller, as_base64(encoded(Image.open(COFFEE), kind)))
    assert answer.json()["predictions"][0]["label"] == "espresso"


@pytest.mark.parametrize(
    ("image", "says"),
    [
        pytest.param("not base64 at all!", "base64", id="no-base64"),
        pytest.param("abcde", "base64", id="wrong-length"),
        pytest.param("abc", "JPEG, PNG", id="two-bytes-without-padding"),
        pytest.param("data:image/png,abc", "base64", id="data-url-without-base64"),
        pytest.param("", "empty", id="empty"),
        pytest.param(as_base64(b"a text file, not an image"), "JPEG, PNG", id="text-file"),
        pytest.param(as_base64(COFFEE.read_bytes()[:5000]), "damaged or cut off", id="truncated"),
        pytest.param(as_base64(encoded(Image.new("RGB", (8, 8)), "PPM")), "JPEG, PNG", id="another-format"),
    ],
)
def test_what_is_no_image_is_400(caller: httpx.Client, image: str, says: str) -> None:
    assert says in assert_problem(classify(caller, image), 400)["detail"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        pytest.param(b"{}", 422, "'image' is missing", id="missing"),
        pytest.param(b'{"image": 5}', 422, "'image' is wrong", id="wrong-type"),
        pytest.param(b'{"image": null}', 422, "'image' is wrong", id="null"),
        pytest.param(b'{"image": "", "filename": 7}', 422, "'filename' is wrong", id="wrong-filename"),
        pytest.param(b'["image"]', 422, "JSON object", id="a-list"),
        pytest.param(b'{"image": ', 400, "not valid JSON", id="cut-off"),
        pytest.param(b"", 400, "not valid JSON", id="nothing"),
        pytest.param(b'{"image": "\xff\xfe"}', 400, "not valid JSON", id="not-utf-8"),
    ],
)
def test_a_wrong_body_is_told_what_is_wrong(caller: httpx.Client, body: bytes, status: int, says: str) -> None:
    answer = caller.post("/v1/classify", content=body, headers={"Content-Type": "application/json"})
    assert says in assert_problem(answer, status)["detail"]


def test_another_content_type_is_415(caller: httpx.Client) -> None:
    answer = caller.post("/v1/classify", content=b"image=x", headers={"Content-Type": "text/plain"})
    assert "application/json" in assert_problem(answer, 415)["detail"]


def test_a_body_over_the_limit_is_413_before_it_is_read(caller: httpx.Client) -> None:
    """Declared or not: 100 MiB sent in chunks would take long, were they all read."""

    def chunks() -> Any:
        for _ in range(1600):
            yield b" " * 65536

    answer = caller.post("/v1/classify", content=chunks(), headers={"Content-Type": "application/json"})
    assert_problem(answer, 413)
    assert_problem(classify(caller, "A" * (11 * 1024 * 1024)), 413)


def test_too_many_pixels_are_422(caller: httpx.Client) -> None:
    bomb = encoded(Image.new("1", (9000, 9000)))
    assert len(bomb) < 100_000
    assert "9000 x 9000" in assert_problem(classify(caller, as_base64(bomb)), 422)["detail"]


def test_a_thin_strip_is_not_blown_up(caller: httpx.Client) -> None:
    """Resized to 256 pixels across, the whole strip would have 3 billion of them."""
    assert classify(caller, as_base64(encoded(Image.new("RGB", (4, 200_000), "red")))).status_code == 200


def test_the_server_goes_on_after_bad_requests(caller: httpx.Client) -> None:
    for image in ("!", as_base64(b"no image"), as_base64(COFFEE.read_bytes()[:999])):
        assert classify(caller, image).status_code == 400
    assert classify(caller, as_base64(COFFEE.read_bytes())).status_code == 200


def test_unknown_paths_and_methods(caller: httpx.Client) -> None:
    assert_problem(caller.get("/v1/nothing"), 404)
    wrong = caller.get("/v1/classify")
    assert_problem(wrong, 405)
    assert wrong.headers["allow"] == "POST"
    assert caller.post("/v1/usage").headers["allow"].startswith("GET")


def test_a_callers_own_request_id_is_kept(caller: httpx.Client) -> None:
    for own in ("order-1234", "order-1234"):
        answer = caller.get("/v1/usage", headers={"X-Request-ID": own})
        assert answer.status_code == 200
        assert answer.headers["x-request-id"] == own
    made = caller.get("/v1/usage", headers={"X-Request-ID": "no good\tid"}).headers["x-request-id"]
    assert made.startswith("req_")


def test_the_log_says_loudly_that_a_stand_in_answers(server: Server) -> None:
    # One for each start: a test before this one may have started the server again.
    warnings = [line for line in server.log.read_text().splitlines() if "WARNING" in line and STAND_IN in line]
    assert warnings
    assert all("stand-in for the model that was asked for" in warning for warning in warnings)


def test_model_info(caller: httpx.Client) -> None:
    assert caller.get("/v1/model/info").json() == {"name": STAND_IN, "status": "loaded", "num_labels": 1000}


def test_the_log_holds_no_traceback_and_no_path(server: Server, caller: httpx.Client) -> None:
    classify(caller, "!")
    log = server.log.read_text()
    assert "Traceback" not in log
    assert json.dumps(str(server.folder)) not in log
