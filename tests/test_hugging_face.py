"""`/models/{owner}/{name}`: Hugging Face's own client, and its errors, against this service."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from testing.photographs import COFFEE
from testing.servers import Server
from tests.answers import assert_problem

PHOTO = COFFEE.read_bytes()
PHOTO_BASE64 = base64.b64encode(PHOTO).decode()


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    key = server.create_key("hf@example.org", "--limit", "100000/day")["key"]
    with server.client(key) as client:
        return f"{server.url}/models/{client.get('/v1/model/info').json()['name']}"


@pytest.fixture
def client(url: str, new_user: Callable[..., dict[str, Any]]) -> InferenceClient:
    return InferenceClient(model=url, api_key=new_user("--limit", "100000/day")["key"])


def test_hugging_faces_client_classifies(client: InferenceClient, caller: httpx.Client) -> None:
    found = client.image_classification(PHOTO)
    assert [type(one.score) for one in found] == [float] * 5
    v1 = caller.post("/v1/classify", json={"image": PHOTO_BASE64}).json()["predictions"]
    assert [(one.label, one.score) for one in found] == [(one["label"], one["confidence"]) for one in v1]


def test_hugging_faces_client_sends_parameters(client: InferenceClient) -> None:
    assert len(client.image_classification(PHOTO, top_k=3)) == 3
    assert len(client.image_classification(PHOTO, top_k=5000)) == 1000, "all labels, as transformers' pipeline"
    assert len(client.image_classification(PHOTO, function_to_apply="softmax")) == 5


def test_hugging_faces_client_shows_what_is_wrong(client: InferenceClient, url: str) -> None:
    with pytest.raises(HfHubHTTPError, match="this model answers with softmax") as refused:
        client.image_classification(PHOTO, function_to_apply="none")
    assert refused.value.response.status_code == 422
    with pytest.raises(HfHubHTTPError, match="This API key is not valid"):
        InferenceClient(model=url, api_key="imc_wrong").image_classification(PHOTO)
    with pytest.raises(HfHubHTTPError, match="There is no model of this name"):
        client.image_classification(PHOTO, model=url + "x")


@pytest.mark.parametrize("content_type", [None, "image/png", "application/json", "text/plain", "made/up; x=1"])
def test_the_file_itself_comes_with_any_content_type(url: str, caller: httpx.Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = caller.post(url, content=PHOTO, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["label"] == "espresso"
    assert answer.headers["ratelimit"]
    assert "infer;dur=" in answer.headers["server-timing"]


@pytest.mark.parametrize("body", [{}, {"parameters": None}, {"parameters": {}}, {"options": {"wait_for_model": True}}])
@pytest.mark.parametrize("content_type", [None, "application/json", "application/octet-stream"])
def test_json_is_read_whatever_it_is_called(
    url: str, caller: httpx.Client, body: dict[str, Any], content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    text = "\ufeff \n" + json.dumps({"inputs": PHOTO_BASE64, **body})
    answer = caller.post(url, content=text.encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["label"] == "espresso"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b"", "empty"),
        (400, b"no image", "no image of a known format"),
        (400, b'{"inputs": ', 'not valid JSON; send an object like {"inputs": "<base64>"}'),
        (400, b'{"inputs": "this is no base64!"}', "not valid base64"),
        (422, b"{}", "'inputs' is missing"),
        (422, b'{"inputs": 1}', "'inputs' is wrong"),
        (422, b'{"inputs": "", "parameters": {"top_k": 0}}', "top_k"),
        (422, b'{"inputs": "", "parameters": {"function_to_apply": "sigmoid"}}', "leave the field out"),
    ],
)
def test_errors_have_their_detail_also_as_error(
    url: str, caller: httpx.Client, status: int, body: bytes, said: str
) -> None:
    problem = assert_problem(caller.post(url, content=body), status)
    assert said in problem["detail"]
    assert problem["error"] == problem["detail"]


def test_errors_of_every_layer_have_it(url: str, caller: httpx.Client, server: Server) -> None:
    answers = {
        401: httpx.post(url, content=PHOTO),
        405: caller.get(url),
        413: caller.post(url, content=bytes(10_485_761)),
        415: caller.post(url, content=PHOTO, headers={"Content-Encoding": "gzip"}),
    }
    for status, answer in answers.items():
        problem = assert_problem(answer, status)
        assert problem["error"] == problem["detail"]
    assert "error" not in assert_problem(httpx.post(server.url + "/v1/classify"), 401), "v1 is frozen"


@pytest.mark.parametrize("name", ["microsoft/resnet-50", "x", "a/b/c", "%2e%2e", "x%0a"])
def test_another_model_is_404_and_costs_nothing(
    server: Server, new_user: Callable[..., dict[str, Any]], name: str
) -> None:
    with server.client(new_user("--limit", "1/day")["key"]) as caller:
        for _ in range(2):
            assert_problem(caller.post(f"/models/{name}", content=PHOTO), 404)
        assert caller.get("/v2/limits").json()["policies"][0]["remaining"] == 1


def test_it_costs_a_hit_and_is_in_the_usage_log(
    server: Server, url: str, new_user: Callable[..., dict[str, Any]]
) -> None:
    with server.client(new_user("--limit", "1/day")["key"]) as caller:
        assert caller.post(url, content=PHOTO).status_code == 200
        refused = caller.post(url, content=PHOTO)
        assert assert_problem(refused, 429)["error"]
        assert int(refused.headers["retry-after"]) > 0
        assert caller.get("/v1/usage").json()["total_requests"] == 1
        # By the path that was asked for, and by its name in the documentation.
        for path in (url.removeprefix(server.url), "/models/{name}"):
            usage = caller.get("/v2/usage", params={"endpoint": path}).json()
            [bucket] = usage["data"]
            assert (bucket["status"]["2xx"], bucket["status"]["4xx"], bucket["images"]) == (1, 1, 1)
            assert (usage["endpoint"], usage["total"]["billable_images"]) == (path, 1)
