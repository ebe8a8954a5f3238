"""The metrics of a worker: no count is lost, and `/metrics` of any worker knows them a moment later."""

import threading
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from runtime import deferred_metrics
from runtime.deferred_metrics import DeferredWrites
from testing.waiting import wait_until


@pytest.fixture
def deferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeferredWrites:
    """Metrics that are made in a test are written to its folder, later."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    value_class = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(values, "ValueClass", value_class)
    return DeferredWrites(value_class)


def seen_by_another_worker(name: str) -> float | None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry.get_sample_value(name)


def _is_seen(name: str, expected: float) -> bool:
    return seen_by_another_worker(name) == expected


def test_what_threads_count_at_the_same_time_is_all_counted(deferred: DeferredWrites) -> None:
    counter = Counter("apples", "Apples.", registry=None)

    def count() -> None:
        for _ in range(10_000):
            counter.inc()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deferred.write()
    assert seen_by_another_worker("apples_total") == 40_000


def test_another_worker_knows_it_a_moment_later_also_the_second_time(
    deferred: DeferredWrites,
) -> None:
    counter = Counter("pears", "Pears.", registry=None)
    for number in (1, 2):
        counter.inc()
        wait_until(partial(_is_seen, "pears_total", number), f"{number} of them")


def test_gauges_and_histograms_are_written_too(deferred: DeferredWrites) -> None:
    gauge = Gauge("level", "A level.", registry=None, multiprocess_mode="livesum")
    histogram = Histogram("spans", "Spans.", registry=None, buckets=(1, 10))
    gauge.set(3)
    gauge.dec()
    histogram.observe(5)
    deferred.write()
    assert seen_by_another_worker("level") == 2
    assert seen_by_another_worker("spans_sum") == 5
    assert seen_by_another_worker("spans_count") == 1


@pytest.mark.parametrize("amount", [0, 1, 1.5, 10, 11])
def test_histograms_count_in_the_same_bucket_as_before(
    deferred: DeferredWrites, monkeypatch: pytest.MonkeyPatch, amount: float
) -> None:
    def counted(name: str) -> list[tuple[dict[str, str], float]]:
        histogram = Histogram(name, "Spans.", registry=None, buckets=(1, 10))
        histogram.observe(amount)
        [family] = histogram.collect()
        return [(sample.labels, sample.value) for sample in family.samples if not sample.name.endswith("_created")]

    before = counted("before")
    monkeypatch.setattr(Histogram, "observe", deferred.observe())
    assert counted("after") == before


def test_nothing_is_written_before_that(deferred: DeferredWrites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_metrics, "WRITTEN_EVERY_S", 1e6)
    counter = Counter("plums", "Plums.", registry=None)
    counter.inc()
    assert seen_by_another_worker("plums_total") == 0
    deferred.write()
    assert seen_by_another_worker("plums_total") == 1
