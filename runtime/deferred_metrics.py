"""Gathers the metrics of a worker in its memory, and writes them to Prometheus' files a little later.

All workers of a server write their metrics to files, from which any of them answers `/metrics`. A request changes some
17 values, and writing each change took 5 % of the processor time of a small request, without decoding.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from prometheus_client import Histogram, values
from prometheus_client.metrics import MetricWrapperBase
from starlette.applications import Starlette

# A worker that answers `/metrics` knows what the others had counted this long ago, seconds.
WRITTEN_EVERY_S = 0.25


class DeferredWrites:
    """Replaces how a class of values of `prometheus_client` is changed: at once in memory, later in the file.

    Args:
        of: the class; all of its objects are changed in this way from now on.
    """

    def __init__(self, of: type[Any]) -> None:
        self._write_one: Callable[[Any, float, float], None] = of.set
        self._changed: set[Any] = set()
        self._lock = threading.Lock()
        self._woken = threading.Event()
        of.inc, of.set = self._replacements()
        threading.Thread(target=self._keep_writing, name="metrics", daemon=True).start()

    def write(self) -> None:
        """Write what has changed."""
        with self._lock:
            for value in self._changed:
                self._write_one(value, value._value, value._timestamp)
            self._changed.clear()

    def _replacements(self) -> tuple[Callable[..., None], Callable[..., None]]:
        lock, note = self._lock, self._note

        def inc(value: Any, amount: float) -> None:
            with lock:
                value._value += amount
                value._timestamp = 0.0
                note(value)

        def set_to(value: Any, new: float, timestamp: float | None = None) -> None:
            with lock:
                value._value = new
                value._timestamp = timestamp or 0.0
                note(value)

        return inc, set_to

    def observe(self) -> Callable[..., None]:
        """Return what replaces `Histogram.observe`: both changes at once, and the bucket found by bisection."""
        lock, note = self._lock, self._note

        def observe(histogram: Any, amount: float, _exemplar: object = None) -> None:
            # The last bound is infinite.
            bucket = histogram._buckets[bisect_left(histogram._upper_bounds, amount)]
            total = histogram._sum
            with lock:
                total._value += amount
                bucket._value += 1
                note(total)
                note(bucket)

        return observe

    def _note(self, value: Any) -> None:
        if not self._changed:
            self._woken.set()
        self._changed.add(value)

    def _keep_writing(self) -> None:
        while True:
            self._woken.wait()
            time.sleep(WRITTEN_EVERY_S)
            self._woken.clear()
            self.write()


class _RequestMetrics(RunnerTrafficMetricsMiddleware):
    """BentoML's middleware that counts requests, without a search for the labels of each metric in each request."""

    def _setup(self) -> None:
        super()._setup()
        for name, metric in vars(self).items():
            if isinstance(metric, MetricWrapperBase):
                setattr(self, name, _RememberedLabels(metric))


class _RememberedLabels:
    """A metric that remembers its children. BentoML names the labels of a metric always in the same order."""

    def __init__(self, metric: MetricWrapperBase) -> None:
        self._metric = metric
        self._children: dict[tuple[object, ...], MetricWrapperBase] = {}

    def labels(self, **labels: object) -> MetricWrapperBase:
        key = tuple(labels.values())
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._metric.labels(**labels)
        return child


def use(app: Starlette) -> Callable[[], None]:
    """Make this process gather its metrics in memory, if it writes them to Prometheus' files at all.

    Args:
        app: the app that the process serves.

    Returns:
        a function that writes all that was counted; call it when the process ends.
    """
    for middleware in app.user_middleware:
        if middleware.cls is RunnerTrafficMetricsMiddleware:
            middleware.cls = _RequestMetrics
    if not values.ValueClass._multiprocess:
        return _nothing
    deferred = DeferredWrites(values.ValueClass)
    Histogram.observe = deferred.observe()  # type: ignore[method-assign]
    client = BentoMLContainer.metrics_client.get()
    generate_latest = client.generate_latest

    def generate() -> bytes:
        # Whoever asks this worker gets everything that it has counted so far.
        deferred.write()
        return generate_latest()

    client.generate_latest = generate
    return deferred.write


def _nothing() -> None:
    pass
