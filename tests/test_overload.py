"""Three times as many requests as the service can answer: it answers nearly as many as ever, and refuses the rest soon.

`make torture` keeps it up for 30 s. The load comes from a process of its own, on the same processors.
"""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from testing.checkpoints import save_resnet18
from testing.http_load import closed_loop, goodput, json_photos, open_loop, rate
from testing.servers import Server, run_prepare, running

IN_FULL = bool(os.environ.get("TORTURE"))
SECONDS = 30.0 if IN_FULL else 3.0
# Until a server is warm, and for how long its capacity is measured then.
WARM_UP_S, MEASURED_S = (2.0, 15.0) if IN_FULL else (0.5, 1.5)
TIMES_CAPACITY = 3
CALLERS = 32
# The queue holds as much as the machine answers in this time: the fewer it answers, the sooner it must be full.
QUEUE_S = 1.0
SHORTEST_QUEUE = 8


@pytest.fixture(scope="module")
def busy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a ResNet-18; in `make test`, of the stand-in. Its queue is as long as this machine is fast."""
    folder, settings = tmp_path_factory.mktemp("busy"), {}
    if IN_FULL:
        save_resnet18(folder / "resnet-18")
        settings = {"CLASSIFIER_MODEL": str(folder / "resnet-18"), "CLASSIFIER_OFFLINE_MODEL": "deny"}
        models = folder / "home" / "models"
        assert run_prepare(models, **settings).returncode == 0
        with running(folder / "measured", models, **settings) as server:
            per_s = _capacity(server, CALLERS)
    else:
        models = request.getfixturevalue("model_store")
        per_s = _capacity(request.getfixturevalue("server"), CALLERS)
    settings["CLASSIFIER_MAX_QUEUE"] = str(max(SHORTEST_QUEUE, int(per_s * QUEUE_S)))
    with running(folder / "it", models, **settings) as server:
        yield server


def _key(server: Server) -> str:
    return str(server.create_key("overload@example.org", "--limit", "100000000/day")["key"])


def _capacity(server: Server, callers: int) -> float:
    """Requests that the server answers per second, where none is refused."""
    key, requests = _key(server), json_photos()
    closed_loop(server.url, key, requests, callers, WARM_UP_S)
    return rate(closed_loop(server.url, key, requests, callers, MEASURED_S))


@pytest.mark.alone
def test_overload_is_refused_soon_and_costs_little(busy: Server) -> None:
    queue = int(busy.environment["CLASSIFIER_MAX_QUEUE"])
    capacity = _capacity(busy, min(CALLERS, queue))
    key, requests = _key(busy), json_photos()
    samples = open_loop(busy.url, key, requests, TIMES_CAPACITY * capacity, SECONDS)
    assert {sample.status for sample in samples} == {200, 503}
    accepted = [sample.ms for sample in samples if sample.status == 200]
    refused = [sample.ms for sample in samples if sample.status == 503]
    answered = goodput(samples, SECONDS)
    bound_ms = queue / answered * 1000
    told = {
        "capacity": capacity,
        "goodput": answered,
        "accepted p99 ms": np.percentile(accepted, 99),
        "implied by the queue ms": bound_ms,
        "refused p50 ms": np.percentile(refused, 50),
        "refused p99 ms": np.percentile(refused, 99),
    }
    print(", ".join(f"{name} {value:.0f}" for name, value in told.items()))
    # Timing is judged where it is measured at length.
    if IN_FULL:
        assert answered > 0.8 * capacity
        assert np.percentile(accepted, 99) < 1.5 * bound_ms
        assert np.percentile(refused, 99) < 100
    assert max(accepted) < 10 * bound_ms, "the queue grows"
    waits_s = [sample.retry_after_s for sample in samples if sample.status == 503]
    assert all(wait_s is not None and 1 <= wait_s <= 3 * bound_ms / 1000 + 1 for wait_s in waits_s)
    again = closed_loop(busy.url, key, requests, 1, 0.5)
    assert {sample.status for sample in again} == {200}, "the queue empties"
