"""POST /v2/classify and /v2/classify/batch, GET /v2/models: what v1 lacks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml
import httpx
import pytest
from PIL import Image

from testing.photographs import CAT, COFFEE, as_base64, encoded
from testing.servers import Server
from tests.answers import assert_problem
from tests.test_classify import STAND_IN

PHOTO = COFFEE.read_bytes()
BAD = [as_base64(PHOTO[:5000]), "not base64!", as_base64(b"a text file")]


def upload(caller: httpx.Client, data: bytes = PHOTO, /, **query: Any) -> httpx.Response:
    return caller.post("/v2/classify", content=data, params=query, headers={"Content-Type": "image/png"})


def batch(caller: httpx.Client, images: list[str], **more: Any) -> httpx.Response:
    return caller.post("/v2/classify/batch", json={"images": images, **more})


def test_an_answer_says_who_answered_and_what_was_seen(caller: httpx.Client) -> None:
    answer = upload(caller)
    body = answer.json()
    assert set(body) == {"id", "model", "predictions", "image"}
    assert body["id"].startswith("req_")
    assert body["model"]["name"] == STAND_IN
    assert set(body["model"]) == {"name", "revision", "engine", "precision"}
    assert body["model"]["engine"] == "openvino"
    assert body["image"] == {"width": 600, "height": 400, "format": "PNG"}
    assert len(body["predictions"]) == 5
    assert body["predictions"][0] == {"label": "espresso", "class_id": 967, "confidence": pytest.approx(0.95, abs=0.01)}


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"files": {"image": ("coffee.png", PHOTO, "image/png")}}, id="form"),
        pytest.param({"files": {"image": ("no\x00name", PHOTO, "text/plain")}}, id="form-with-an-odd-name"),
        pytest.param({"content": PHOTO, "headers": {"Content-Type": "image/jpeg"}}, id="body-of-another-type"),
        pytest.param({"content": PHOTO, "headers": {"Content-Type": "application/octet-stream"}}, id="bytes"),
        pytest.param({"json": {"image": as_base64(PHOTO), "filename": "c"}}, id="json"),
        pytest.param({"json": {"image": "data:image/png;base64," + as_base64(PHOTO)}}, id="data-url"),
    ],
)
def test_every_way_of_sending_gives_the_same(caller: httpx.Client, sent: dict[str, Any]) -> None:
    v1 = caller.post("/v1/classify", json={"image": as_base64(PHOTO)}).json()["predictions"]
    found = caller.post("/v2/classify", **sent).json()["predictions"]
    assert [(one["label"], one["confidence"]) for one in found] == [(one["label"], one["confidence"]) for one in v1]


def test_options_come_in_the_query_the_form_or_the_json(caller: httpx.Client) -> None:
    files = {"image": PHOTO}
    answers = [
        upload(caller, top_k=2),
        caller.post("/v2/classify", files=files, data={"top_k": "2"}),
        caller.post("/v2/classify", json={"image": as_base64(PHOTO), "top_k": 2}),
        caller.post("/v2/classify?top_k=7", files=files, data={"top_k": "2"}),
    ]
    assert [len(answer.json()["predictions"]) for answer in answers] == [2, 2, 2, 2]
    assert len(upload(caller, top_k=1000).json()["predictions"]) == 1000
    sure = upload(caller, top_k=1000, min_confidence=0.01).json()["predictions"]
    assert [one["label"] for one in sure] == ["espresso", "cup"]
    assert upload(caller, min_confidence=1).json()["predictions"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"top_k": "0"}, "top_k"),
        ({"top_k": "1001"}, "top_k"),
        ({"top_k": "9" * 5000}, "top_k"),
        ({"top_k": "two"}, "top_k"),
        ({"min_confidence": "1.1"}, "min_confidence"),
        ({"min_confidence": "nan"}, "min_confidence"),
    ],
)
def test_an_option_out_of_range_is_422(caller: httpx.Client, query: dict[str, str], field: str) -> None:
    assert assert_problem(upload(caller, PHOTO, **query), 422)["field"] == field


def test_a_batch_answers_each_image_in_its_place(caller: httpx.Client) -> None:
    good, bad = as_base64(PHOTO), iter(BAD)
    asked = [good if place in (0, 1, 3, 4, 6, 7, 9) else next(bad) for place in range(10)]
    answer = batch(caller, asked, top_k=1)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert len(results) == 10
    for sent, result in zip(asked, results, strict=True):
        if sent == good:
            assert result["predictions"][0]["label"] == "espresso"
            assert result["image"]["width"] == 600
            assert "error" not in result
        else:
            assert set(result) == {"error"}
            assert result["error"]["status"] == 400
            assert result["error"]["detail"].endswith(".")


def test_a_batch_may_be_a_form(caller: httpx.Client) -> None:
    parts = [("image", ("a.png", PHOTO)), ("image", ("b.txt", b"no image")), ("image", ("c.png", CAT.read_bytes()))]
    results = caller.post("/v2/classify/batch?top_k=3", files=parts).json()["results"]
    assert results[0]["predictions"][0]["label"] == "espresso"
    assert results[1]["error"]["status"] == 400
    assert "tabby, tabby cat" in [one["label"] for one in results[2]["predictions"]]


def test_more_images_than_one_batch_of_the_model_are_answered(caller: httpx.Client) -> None:
    small = encoded(Image.open(COFFEE), "JPEG")
    results = batch(caller, [as_base64(small)] * 32).json()["results"]
    assert [result["predictions"][0]["label"] for result in results] == ["espresso"] * 32
    assert assert_problem(batch(caller, [as_base64(small)] * 33), 422)["field"] == "images"
    parts = [("image", small)] * 33
    assert assert_problem(caller.post("/v2/classify/batch", files=parts), 422)["field"] == "images"


def test_a_batch_costs_as_many_hits_as_images(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    with server.client(new_user("--limit", "6/hour")["key"]) as client:
        assert batch(client, [as_base64(PHOTO)] * 4).headers["ratelimit"].startswith('"default";r=2;')
        refused = batch(client, [as_base64(PHOTO)] * 3)
        assert_problem(refused, 429)
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        assert refused.headers["ratelimit"].startswith('"default";r=2;'), "what is refused costs nothing"
        assert "at most 6 at once" in assert_problem(batch(client, [as_base64(PHOTO)] * 7), 429)["detail"]
        unread = client.post("/v2/classify/batch", content=b"{", headers={"Content-Type": "application/json"})
        assert_problem(unread, 400)
        assert unread.headers["ratelimit"].startswith('"default";r=1;'), "what can't be read costs one"
        assert batch(client, [as_base64(PHOTO)]).status_code == 200
        assert_problem(batch(client, [as_base64(PHOTO)]), 429)
        assert client.get("/v1/usage").json()["total_requests"] == 3
        buckets = client.get("/v2/usage", params={"endpoint": "/v2/classify/batch"}).json()["data"]
        assert [sum(bucket[name] for bucket in buckets) for name in ("requests", "images")] == [6, 6]


def test_a_bad_request_spoils_none_of_thirty_beside_it(server: Server, new_user: Callable[..., dict[str, Any]]) -> None:
    key = new_user("--limit", "1000/minute")["key"]

    def ask(number: int) -> int:
        with server.client(key) as client:
            return upload(client, PHOTO if number != 15 else PHOTO[:9000]).status_code

    with ThreadPoolExecutor(31) as pool:
        statuses = list(pool.map(ask, range(31)))
    assert statuses[15] == 400
    assert [*statuses[:15], *statuses[16:]] == [200] * 30


@pytest.mark.parametrize("path", ["/v1/classify", "/v2/classify"])
def test_server_timing_says_where_the_time_went(caller: httpx.Client, path: str) -> None:
    answer = caller.post(path, json={"image": as_base64(PHOTO)})
    parts = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(parts) == ["queue", "decode", "infer"]
    assert all(float(spent) > 0 for spent in parts.values())
    assert sum(map(float, parts.values())) < answer.elapsed.total_seconds() * 1000


def test_models(caller: httpx.Client) -> None:
    [model] = caller.get("/v2/models").json()["models"]
    assert caller.get(f"/v2/models/{STAND_IN}").json() == model
    assert model["name"] == STAND_IN
    assert model["stand_in"] is True
    assert model["status"] == "loaded"
    assert model["engine"] == "openvino"
    assert model["input"] == {"width": 224, "height": 224}
    assert model["num_labels"] == len(model["labels"]) == 1000
    assert model["labels"][967] == "espresso"
    assert model["precision"] == upload(caller).json()["model"]["precision"]
    for unknown in ("nobody/nothing", "x" * 5000, "%00", "%ff%fe"):
        assert_problem(caller.get(f"/v2/models/{unknown}"), 404)


def test_the_bentoml_client_sends_files_by_their_path(server: Server) -> None:
    key = server.create_key("client2@example.org", "--limit", "100/minute")["key"]
    with bentoml.SyncHTTPClient(server.url, token=key) as client:
        answer = client.classify_v2(image=COFFEE, top_k=2)
        assert [one["label"] for one in answer["predictions"]] == ["espresso", "cup"]
        results = client.classify_batch(images=[COFFEE, CAT])["results"]
        assert results[0]["predictions"][0]["label"] == "espresso"
        assert results[1]["image"] == {"width": 451, "height": 300, "format": "PNG"}
