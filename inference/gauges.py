"""Reports the current state of a worker to Prometheus, every second: queue, model, API keys."""

import asyncio
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
from prometheus_client import Gauge, multiprocess

from inference.classifier import Classifier
from storage import jobs
from storage.errors import StorageUnavailable
from storage.store import Store

REPORTED_EVERY_S = 1.0
STORES_ASKED_EVERY_S = 5.0
JOBS_ASKED_EVERY_S = 60.0

# "live" modes take only workers that run: the values of a killed worker must not stay in the sum.
queue_images = Gauge("classifier_queue_images", "Images that wait for their answer.", multiprocess_mode="livesum")
queue_limit = Gauge(
    "classifier_queue_limit", "Images that may wait before new ones are refused.", multiprocess_mode="livesum"
)
keys = Gauge("classifier_keys", "API keys, by their state.", ["state"], multiprocess_mode="livemax")
job_success = Gauge(
    "classifier_job_success_timestamp_seconds",
    "When a command that runs by itself last succeeded, Unix time; 0: never.",
    ["command"],
    multiprocess_mode="livemax",
)
oldest_message = Gauge(
    "classifier_oldest_message_seconds",
    "How long the oldest message waits that is to be delivered; 0: none waits.",
    ["kind"],
    multiprocess_mode="livemax",
)
model_info = Gauge(
    "classifier_model_info",
    "What is served; always 1.",
    ["name", "revision", "engine", "precision"],
    multiprocess_mode="livemax",
)


async def keep_reporting(store: Store, classifier: Classifier) -> None:
    """Report for as long as the worker runs. While a store is away, the count of keys stays as it was.

    Args:
        store: where the keys are counted.
        classifier: the worker's, whose queue and model are reported.
    """
    _remove_gauges_of_killed_workers()
    ask_stores_at, ask_jobs_at = 0.0, 0.0
    while True:
        queue_images.set(classifier.queue.waiting)
        queue_limit.set(classifier.queue.limit)
        if classifier.is_loaded:
            model_info.labels(**classifier.served_model()).set(1)
        if time.monotonic() >= ask_stores_at:
            ask_stores_at = time.monotonic() + STORES_ASKED_EVERY_S
            # `ping` fails also if only Redis is away, which nobody else would notice while there are no requests.
            with suppress(StorageUnavailable):
                await store.ping()
                for state, number in (await store.keys_by_state()).items():
                    keys.labels(state).set(number)
                if time.monotonic() >= ask_jobs_at:
                    await report_jobs(store)
                    ask_jobs_at = time.monotonic() + JOBS_ASKED_EVERY_S
        await asyncio.sleep(REPORTED_EVERY_S)


async def report_jobs(store: Store) -> None:
    """Report when each scheduled command last succeeded, and how long messages wait.

    Raises:
        StorageUnavailable: the database does not answer.
    """
    for command, at_s in (await store.ask(jobs.last_successes)).items():
        job_success.labels(command).set(at_s)
    for kind, age_s in (await store.ask(partial(jobs.oldest_due_s, now_us=store.now_us()))).items():
        oldest_message.labels(kind).set(age_s)


def _remove_gauges_of_killed_workers() -> None:
    """Remove the gauges of workers that were killed from the sums. A worker that ends normally removes its own."""
    for path in Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "nowhere")).glob("gauge_live*_*.db"):
        worker = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(worker):
            multiprocess.mark_process_dead(worker)  # type: ignore[no-untyped-call]
