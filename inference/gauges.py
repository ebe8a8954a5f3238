"""What is true of a worker just now, told to Prometheus every second."""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

import psutil
from prometheus_client import Gauge, multiprocess

from inference.classification import Classification
from storage.errors import StorageUnavailable
from storage.store import Store

TOLD_EVERY_S = 1.0
KEYS_COUNTED_EVERY_S = 5.0

# "live": of workers that run. A worker that was killed leaves no count behind.
queue_images = Gauge("classifier_queue_images", "Images that wait for their answer.", multiprocess_mode="livesum")
queue_limit = Gauge(
    "classifier_queue_limit", "Images that may wait before new ones are refused.", multiprocess_mode="livesum"
)
keys = Gauge("classifier_keys", "API keys, by their state.", ["state"], multiprocess_mode="livemax")
model_info = Gauge(
    "classifier_model_info",
    "What is served; always 1.",
    ["name", "revision", "engine", "precision"],
    multiprocess_mode="livemax",
)


async def keep_telling(store: Store, classification: Classification) -> None:
    """Tell for as long as the worker runs; what can't be asked just now stays as it was told last."""
    _forget_the_dead()
    count_keys_at = 0.0
    while True:
        queue_images.set(classification.waiting)
        queue_limit.set(classification.max_queue)
        if classification.is_loaded:
            model_info.labels(**classification.served_by()).set(1)
        if time.monotonic() >= count_keys_at:
            count_keys_at = time.monotonic() + KEYS_COUNTED_EVERY_S
            with suppress(StorageUnavailable):
                for state, number in (await store.keys_by_state()).items():
                    keys.labels(state).set(number)
        await asyncio.sleep(TOLD_EVERY_S)


def _forget_the_dead() -> None:
    """Take out of the sums what workers told that were killed; only one that ends by itself does so."""
    for path in Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "nowhere")).glob("gauge_live*_*.db"):
        worker = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(worker):
            multiprocess.mark_process_dead(worker)  # type: ignore[no-untyped-call]
