"""The endpoints: what v1, v2 and the routes that only read answer, and which bodies they refuse."""

from typing import Any

import pytest

from testing.colour_model import CONFIDENCE, LABELS, NAME, OTHERS, image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

RED, BLUE = image_of("red"), image_of("blue", "JPEG", (30, 20))
ONE = {"image": as_base64(RED)}
BATCH = "/v2/classify/batch"


async def classify_v2(gateway: InProcessGateway, key: IssuedKey, query: str = "") -> dict[str, Any]:
    answer = await gateway.request("POST", f"/v2/classify{query}", key, json=ONE)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_v1_answers_the_five_most_probable_labels(gateway: InProcessGateway, key: IssuedKey) -> None:
    answer = await gateway.request("POST", "/v1/classify", key, json={**ONE, "filename": "red.png"})
    assert answer.status_code == 200
    assert answer.json() == {
        "predictions": [
            {"label": "red", "confidence": CONFIDENCE},
            *({"label": label, "confidence": OTHERS} for label in ("black", "green", "yellow", "blue")),
        ],
        "model": NAME,
    }


@pytest.mark.parametrize(
    "written", [as_base64(RED), "data:image/png;base64," + as_base64(RED), as_base64(RED).rstrip("=")]
)
async def test_v1_takes_base64_as_browsers_and_phones_write_it(
    gateway: InProcessGateway, key: IssuedKey, written: str
) -> None:
    answer = await gateway.request("POST", "/v1/classify", key, json={"image": written})
    assert answer.json()["predictions"][0]["label"] == "red"


async def test_v2_answers_with_the_model_and_the_image(gateway: InProcessGateway, key: IssuedKey) -> None:
    answer = await gateway.request(
        "POST", "/v2/classify?top_k=2", key, content=BLUE, headers={"Content-Type": "image/jpeg"}
    )
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("id") == gateway.usage_rows()[0]["request_id"]
    assert body == {
        "model": {"name": NAME, "revision": "1", "engine": "openvino", "precision": "f32"},
        "predictions": [
            {"label": "blue", "class_id": 4, "confidence": CONFIDENCE},
            {"label": "black", "class_id": 0, "confidence": OTHERS},
        ],
        "image": {"width": 30, "height": 20, "format": "JPEG"},
    }


@pytest.mark.parametrize("path", ["/v1/classify", "/v2/classify", BATCH])
async def test_an_answer_tells_where_its_time_went(gateway: InProcessGateway, key: IssuedKey, path: str) -> None:
    body = {"images": [ONE["image"]]} if path == BATCH else ONE
    answer = await gateway.request("POST", path, key, json=body)
    stages = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(stages) == ["queue", "decode", "infer"]
    assert float(stages["decode"]) > 0


@pytest.mark.parametrize(
    "options",
    [
        {"json": ONE},
        {"files": {"image": ("red.png", RED, "image/png")}},
        {"content": RED, "headers": {"Content-Type": "image/png"}},
        {"content": RED, "headers": {"Content-Type": "application/octet-stream"}},
    ],
)
async def test_v2_takes_an_image_in_each_of_its_ways(
    gateway: InProcessGateway, key: IssuedKey, options: dict[str, Any]
) -> None:
    answer = await gateway.request("POST", "/v2/classify", key, **options)
    assert answer.json()["predictions"][0]["label"] == "red"
    assert len(answer.json()["predictions"]) == 5


@pytest.mark.parametrize(
    ("query", "number"), [("?top_k=1", 1), ("?top_k=8", 8), ("?min_confidence=0.5", 1), ("?min_confidence=1", 0)]
)
async def test_v2_heeds_its_options(gateway: InProcessGateway, key: IssuedKey, query: str, number: int) -> None:
    assert len((await classify_v2(gateway, key, query))["predictions"]) == number


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("top_k=0", "top_k"),
        ("top_k=9", "top_k"),
        ("top_k=many", "top_k"),
        ("top_k=0_1", "top_k"),
        ("min_confidence=0_0.5", "min_confidence"),
        ("min_confidence=1.1", "min_confidence"),
        ("min_confidence=-0.1", "min_confidence"),
    ],
)
async def test_an_option_out_of_range_is_422(gateway: InProcessGateway, key: IssuedKey, query: str, field: str) -> None:
    answer = await gateway.request("POST", f"/v2/classify?{query}", key, json=ONE)
    assert assert_problem(answer, 422)["field"] == field


async def test_options_of_a_form_go_before_the_query(gateway: InProcessGateway, key: IssuedKey) -> None:
    files = {"image": ("red.png", RED, "image/png")}
    answer = await gateway.request("POST", "/v2/classify?top_k=1", key, files=files, data={"top_k": "3"})
    assert len(answer.json()["predictions"]) == 3


async def test_a_batch_answers_in_order_and_a_bad_image_spoils_no_other(
    gateway: InProcessGateway, key: IssuedKey
) -> None:
    colours = ["white", "red", "cyan", "black", "yellow"]
    files = [("image", (f"{colour}.png", image_of(colour), "image/png")) for colour in colours]
    files.insert(2, ("image", ("bad.txt", b"no image", "image/png")))
    answer = await gateway.request("POST", f"{BATCH}?top_k=1", key, files=files)
    assert answer.status_code == 200
    results = answer.json()["results"]
    error = results.pop(2)["error"]
    assert (error["status"], error["field"]) == (400, "image")
    assert [result["predictions"][0]["label"] for result in results] == colours
    assert all(result["image"] == {"width": 12, "height": 10, "format": "PNG"} for result in results)


async def test_a_batch_of_base64_is_taken_too(gateway: InProcessGateway, key: IssuedKey) -> None:
    images = [as_base64(image_of(colour)) for colour in LABELS]
    answer = await gateway.request("POST", BATCH, key, json={"images": images, "top_k": 1})
    assert [result["predictions"][0]["label"] for result in answer.json()["results"]] == [*LABELS]


@pytest.mark.parametrize("way", ["json", "form"])
async def test_a_batch_of_too_many_images_is_422(start: Start, way: str) -> None:
    gateway = await start(max_batch_images=2)
    key = gateway.new_key("10/minute")
    options: dict[str, Any] = (
        {"json": {"images": [ONE["image"]] * 3}}
        if way == "json"
        else {"files": [("image", ("red.png", RED, "image/png"))] * 3}
    )
    answer = await gateway.request("POST", BATCH, key, **options)
    problem = assert_problem(answer, 422)
    assert problem["field"] == "images"
    assert "at most 2" in problem["detail"]
    assert gateway.runner.engine.batches == []


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "field"),
    [
        ("/v1/classify", {}, b"{", 400, None),
        ("/v1/classify", {}, b'{"image": "%%%%"}', 400, "image"),
        ("/v1/classify", {}, b'{"image": "AAAA"}', 400, "image"),
        ("/v1/classify", {}, b'{"image": 7}', 422, "image"),
        ("/v1/classify", {}, b"{}", 422, "image"),
        ("/v1/classify", {}, b"[]", 422, "body"),
        ("/v1/classify", {"Content-Type": "image/png"}, RED, 415, None),
        ("/v1/classify", {"Content-Encoding": "gzip"}, b"x", 415, None),
        ("/v2/classify", {"Content-Type": "text/plain"}, b"x", 415, None),
        ("/v2/classify", {"Content-Type": "image/png"}, b"no image", 400, "image"),
        ("/v2/classify", {"Content-Type": "multipart/form-data"}, b"x", 400, None),
        ("/v2/classify", {"Content-Type": "multipart/form-data; boundary=x"}, b"--x--\r\n", 422, "image"),
        (BATCH, {"Content-Type": "image/png"}, RED, 415, None),
        (BATCH, {}, b'{"images": ["AAAA", 7]}', 422, "images.1"),
        (BATCH, {}, b'{"images": []}', 422, "images"),
    ],
)
async def test_a_wrong_body_is_refused(
    gateway: InProcessGateway, key: IssuedKey, path: str, headers: dict[str, str], body: bytes, status: int, field: str
) -> None:
    sent = {"Content-Type": "application/json", **headers}
    problem = assert_problem(await gateway.request("POST", path, key, content=body, headers=sent), status)
    assert problem.get("field") == field


async def test_an_image_of_too_many_pixels_is_422(start: Start) -> None:
    gateway = await start(max_image_pixels=100)
    key = gateway.new_key()
    answer = await gateway.request("POST", "/v1/classify", key, json=ONE)
    assert assert_problem(answer, 422)["field"] == "image"
    small = {"image": as_base64(image_of("red", size=(10, 10)))}
    assert (await gateway.request("POST", "/v1/classify", key, json=small)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/classify", {"image": "*"}, "image"),
        (f"/models/{NAME}", {"inputs": "*"}, "inputs"),
        (f"/models/{NAME}", {"inputs": as_base64(b"none")}, "inputs"),
        (f"/models/{NAME}", {"inputs": as_base64(image_of("red", size=(10_000, 5_001)))}, "inputs"),
    ],
    ids=["not base64", "not base64, Hugging Face", "no image, Hugging Face", "too large, Hugging Face"],
)
async def test_a_wrong_image_is_named_as_the_body_names_it(
    gateway: InProcessGateway, key: IssuedKey, path: str, body: dict[str, str], field: str
) -> None:
    answer = await gateway.request("POST", path, key, json=body)
    assert assert_problem(answer, answer.status_code)["field"] == field


async def test_the_reads_tell_the_model(gateway: InProcessGateway, key: IssuedKey) -> None:
    info = (await gateway.request("GET", "/v1/model/info", key)).json()
    assert info == {"name": NAME, "status": "loaded", "num_labels": 8}
    [model] = (await gateway.request("GET", "/v2/models", key)).json()["models"]
    assert model == (await gateway.request("GET", f"/v2/models/{NAME}", key)).json()
    assert (model["labels"], model["input"]) == ([*LABELS], {"width": 8, "height": 8})
    assert (model["engine"], model["precision"], model["stand_in"]) == ("openvino", "f32", False)
    assert_problem(await gateway.request("GET", "/v2/models/other", key), 404)


async def test_until_the_model_is_loaded_v2_is_503_and_the_reads_say_so(start: Start) -> None:
    gateway = await start(is_warm=False)
    key = gateway.new_key()
    answer = await gateway.request("POST", "/v2/classify", key, json=ONE)
    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert (await gateway.request("GET", "/v1/model/info", key)).json()["status"] == "not_loaded"
    [model] = (await gateway.request("GET", "/v2/models", key)).json()["models"]
    assert (model["status"], model["engine"]) == ("not_loaded", None)
