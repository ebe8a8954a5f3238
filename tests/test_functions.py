"""Checkpoints of several labels at once, of one label, and of few: what a server answers, as transformers' pipeline."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import httpx
import pytest

from testing.photographs import as_base64, crops, encoded
from testing.servers import Server, running
from tests.families import pipeline_answers, save_family
from tests.prepare_all import prepare_all

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "people-and-pets": ("sigmoid", {"problem_type": "multi_label_classification"}),
    "one-label": ("sigmoid", {"num_labels": 1, "id2label": {0: "hot dog"}}),
    "three-labels": ("softmax", {"num_labels": 3, "id2label": {0: "a", 1: "b", 2: "c"}}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint of each kind, and a store of what was made of them."""
    folder = tmp_path_factory.mktemp("functions")
    for name, (_, config) in KINDS.items():
        save_family("vit", folder / name, **config)
    told = prepare_all(folder / "home" / "models", [folder / name for name in KINDS])
    assert {status for status, _ in told.values()} == {0}, told
    return folder


@pytest.fixture(scope="module", params=[*KINDS])
def served(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, Server]]:
    name = request.param
    settings = {"CLASSIFIER_MODEL": str(folder / name), "CLASSIFIER_OFFLINE_MODEL": "deny"}
    settings["CLASSIFIER_PRECISION"] = "f32"
    with running(folder / f"server-{name}", folder / "home" / "models", **settings) as server:
        yield name, server


@pytest.fixture
def caller(served: tuple[str, Server]) -> Iterator[httpx.Client]:
    _, server = served
    key = server.create_key("function@example.org", "--limit", "100000/minute")["key"]
    with server.client(key) as client:
        yield client


def test_confidences_are_the_pipelines(served: tuple[str, Server], caller: httpx.Client, folder: Path) -> None:
    name, _ = served
    pictures = list(crops(4))
    for picture, told in zip(pictures, pipeline_answers(folder / name, pictures), strict=True):
        answer = caller.post("/v1/classify", json={"image": as_base64(encoded(picture))})
        assert answer.status_code == 200, answer.text
        found = answer.json()["predictions"]
        assert len(found) == min(5, len(told))
        assert [entry["label"] for entry in found] == sorted(told, key=lambda label: -told[label])[: len(found)]
        for entry in found:
            assert entry["confidence"] == pytest.approx(told[entry["label"]], abs=1.5e-4)


def test_the_model_says_which_function_it_is(served: tuple[str, Server], caller: httpx.Client) -> None:
    name, _ = served
    function, _ = KINDS[name]
    assert caller.get(f"/v2/models/{name}").json()["function"] == function
    assert caller.get("/v2/models").json()["models"][0]["function"] == function


def test_who_asks_for_no_number_of_labels_gets_what_there_is(served: tuple[str, Server], caller: httpx.Client) -> None:
    name, _ = served
    labels = len(caller.get(f"/v2/models/{name}").json()["labels"])
    body = encoded(crops(1)[0])
    files = {"image": ("photo.png", body)}
    raw: dict[str, Any] = {"content": body, "headers": {"Content-Type": "image/png"}}
    answers = [
        caller.post("/v2/classify", files=files),
        caller.post("/v2/classify?min_confidence=0", **raw),
        caller.post("/v2/classify", json={"image": as_base64(body)}),
        caller.post("/v2/classify", json={"image": as_base64(body), "top_k": None}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {len(answer.json()["predictions"]) for answer in answers} == {min(5, labels)}
    batch = caller.post("/v2/classify/batch", files=[("image", ("a.png", body))] * 2)
    assert [len(entry["predictions"]) for entry in batch.json()["results"]] == [min(5, labels)] * 2

    too_many = [
        caller.post(f"/v2/classify?top_k={labels + 1}", **raw),
        caller.post("/v2/classify", files=files, data={"top_k": str(labels + 1)}),
        caller.post("/v2/classify", json={"image": as_base64(body), "top_k": labels + 1}),
    ]
    assert [answer.status_code for answer in too_many] == [422] * 3
    assert {answer.json()["field"] for answer in too_many} == {"top_k"}
    assert len(caller.post(f"/v2/classify?top_k={labels}", **raw).json()["predictions"]) == labels


def test_bentomls_client_asks_for_no_number_either(served: tuple[str, Server], tmp_path: Path) -> None:
    name, server = served
    (tmp_path / "photo.png").write_bytes(encoded(crops(1)[0]))
    key = server.create_key("client@example.org", "--limit", "100000/minute")["key"]
    with bentoml.SyncHTTPClient(server.url, token=key) as client:
        answer = client.classify_v2(image=tmp_path / "photo.png")
        [entry] = client.classify_batch(images=[tmp_path / "photo.png"])["results"]
    assert len(answer["predictions"]) == len(entry["predictions"]) >= 1, name
