"""What an operator sees: the project's own metrics, with several workers too, and the log as JSON."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from testing.callers import BODY
from testing.servers import PROJECT, Server, running
from testing.waiting import wait_until

Samples = dict[str, float]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Server]:
    """Two gateway workers, a runner beside them, and the log for machines."""
    folder = tmp_path_factory.mktemp("observed")
    config = (PROJECT / "configs" / "production.yaml").read_text()
    (folder / "bentoml.yaml").write_text(config.replace("  ImageClassifier:\n", "  ImageClassifier:\n    workers: 2\n"))
    settings = {"CLASSIFIER_LOG_FORMAT": "json", "CLASSIFIER_RUNNER": "service"}
    with running(folder / "it", model_store, BENTOML_CONFIG=str(folder / "bentoml.yaml"), **settings) as server:
        wait_until(lambda: len(server.workers("ImageClassifier")) == 2, "two workers")
        yield server


def scrape(server: Server, key: str) -> Samples:
    """Each sample by its name and labels, summed over what is left out here."""
    with server.client(key) as client:
        text = client.get("/metrics").raise_for_status().text
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            own = {name: value for name, value in sample.labels.items() if name in ("stage", "kind", "state", "engine")}
            name = sample.name + "".join(f" {value}" for value in own.values())
            samples[name] = samples.get(name, 0.0) + sample.value
    return samples


@pytest.fixture(scope="module")
def metrics_key(observed: Server) -> str:
    return str(observed.create_key("metrics@example.org", "--scope", "metrics")["key"])


def test_every_part_of_a_request_is_measured(observed: Server, metrics_key: str) -> None:
    # Each worker tells its bound on the queue: what comes of both is their sum.
    before = wait_for(lambda: scrape(observed, metrics_key), lambda now: now.get("classifier_queue_limit", 0) >= 128)
    began = time.perf_counter()
    made = observed.create_key("caller@example.org", "--limit", "5/day")
    with observed.client(made["key"]) as client:
        statuses = [client.post("/v1/classify", json=BODY).status_code for _ in range(6)]
        assert statuses == [200] * 5 + [429]
        client.post("/v2/classify", content=b"", headers={"Content-Type": "text/plain"})
    httpx.post(observed.url + "/v1/classify", json=BODY)
    observed.auth("revoke", made["key_id"])
    took_s = time.perf_counter() - began
    after = wait_for(
        lambda: scrape(observed, metrics_key),
        # Both are told a while after they are so.
        lambda now: now.get("classifier_keys revoked", 0) > 0 and now["classifier_queue_images"] == 0,
    )

    def more(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    for stage in ("queue", "decode", "infer"):
        assert more(f"classifier_stage_seconds_count {stage}") == 5
        assert 0 < more(f"classifier_stage_seconds_sum {stage}") < took_s
    assert more("classifier_refusals_total limit") == 2, "the one over the limit, and the text after it"
    assert more("classifier_refusals_total key") == 1
    # (The scrape before was in the usage log only after it had been answered.)
    assert more("classifier_ledger_seconds_count") >= 7
    assert more("classifier_commit_seconds_count") >= 7
    assert after["classifier_queue_images"] == 0
    assert after["classifier_model_info openvino"] == 1, "one model, whatever the workers"
    assert after["classifier_keys live"] >= 1
    assert more("bentoml_service_adaptive_batch_size_count") >= 5


def wait_for(look: Callable[[], Samples], enough: Callable[[Samples], bool]) -> Samples:
    """What is seen once it is enough."""
    seen: Samples = {}

    def is_enough() -> bool:
        seen.clear()
        seen.update(look())
        return enough(seen)

    wait_until(is_enough, lambda: f"enough in {seen}", looks_every_s=0.5)
    return seen


def test_every_metric_stands_on_the_page_for_operators(observed: Server, metrics_key: str) -> None:
    page = (PROJECT / "docs" / "operations.md").read_text()
    with observed.client(metrics_key) as client:
        families = text_string_to_metric_families(client.get("/metrics").text)
    own = {family.name for family in families if family.name.startswith("classifier_")}
    assert len(own) >= 8
    assert [name for name in own if f"`{name}" not in page] == []


def test_the_metrics_files_of_a_worker_have_their_room_on_the_disk(server: Server) -> None:
    """Where a disk is full, a worker that writes to a file without room is ended by the system."""
    folder = Path(server.environment["BENTOML_HOME"]) / "prometheus_multiproc_dir"
    files = [file.stat() for file in folder.glob("*/*.db")]
    assert files
    assert all(file.st_blocks * 512 >= file.st_size for file in files)


def test_the_log_is_one_json_object_a_line(observed: Server) -> None:
    key, began = observed.create_key("log@example.org")["key"], time.perf_counter()
    with observed.client(key) as client:
        client.post("/v1/classify", json=BODY, headers={"X-Request-ID": "mine-1"})
        client.get("/nowhere")
    took_ms = (time.perf_counter() - began) * 1000
    # A line is written behind its answer.
    wait_until(lambda: '"mine-1"' in observed.log.read_text().rpartition("\n")[0], "the line of the request")
    lines = [json.loads(line) for line in observed.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    [mine] = [line for line in lines if line.get("request_id") == "mine-1"]
    assert (mine["method"], mine["path"], mine["status"]) == ("POST", "/v1/classify", 200)
    assert 0 < mine["ms"] < took_ms
    assert mine["component"] in ("ImageClassifier:1", "ImageClassifier:2")
