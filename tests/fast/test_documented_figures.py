"""The figures in the documents are those of the code: limits, times, sizes and defaults."""

import math
import re
from typing import Any

import pytest
import yaml

from api import assembly, body_limits, streams, usage_reads
from api.admin import schemas as admin
from auth import api_key, authentication, idempotency, kept_answers, quota_webhooks, recent_keys, webhook_delivery
from auth.cli import meter_run
from configs.settings import Settings
from inference import decode_pool, decoder_process, fair_shares, gauges, image_queue
from model import configuration
from model.tune import fidelity, trial
from runtime import deferred_metrics, processes, web_socket_protocol
from storage import availability, metering, outbox_pruning, quota_marks, reservations
from storage import idempotency as kept
from storage.database import READ_THREADS
from storage.keys import KEY_MEMORY_S
from testing.servers import PROJECT

MINUTE, HOUR, DAY = 60, 3600, 86400
ALERTS = (PROJECT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8")
NGINX = "".join(path.read_text("utf-8") for path in sorted((PROJECT / "deploy" / "nginx").glob("*.conf")))


def time_limit_s(name: str) -> int:
    """The time limit in a file of BentoML's settings."""
    tree: Any = yaml.safe_load((PROJECT / "configs" / f"{name}.yaml").read_text("utf-8"))
    return int(tree["services"]["ImageClassifier"]["traffic"]["timeout"])


def only(pattern: str, text: str) -> int:
    """The one number that a pattern finds in a text, however often."""
    [number] = set(re.findall(pattern, text))
    return int(number)


def schedule(seconds: tuple[int, ...]) -> str:
    """When a webhook is sent again, as the page writes it: seconds, minutes, then hours."""
    hours = [f"{s // HOUR}" for s in seconds if s >= HOUR]
    shorter = [f"{s} s" if s < MINUTE else f"{s // MINUTE} min" for s in seconds if s < HOUR]
    return f"{', '.join([*shorter, *hours[:-1]])} and {hours[-1]} h"


FIELDS = Settings.model_fields
REQUESTS, RATE, BURST, TO_REPLICA = (
    only(pattern, NGINX)
    for pattern in (r"limit_conn at_once (\d+)", r"rate=(\d+)r/s", r"burst=(\d+)", r"max_conns=(\d+)")
)
JOB_S, METER_S, MESSAGE_S = (
    only(pattern, ALERTS)
    for pattern in (r'reconcile"} > 0\) > (\d+)', r'"meter"} > 0\) > (\d+)', r"message_seconds\) > (\d+)")
)
FIRST_MARK, LAST_MARK = quota_marks.PERCENTS
FIGURES = {
    "README.md": [
        f"at least {image_queue.SHORTEST_QUEUE}",
        f"({configuration.CPU_BATCH} if nothing was measured)",
        f"On CUDA: {configuration.GPU_BATCH}",
        f"may take when the server is told to end, at most {processes.DELAY_AT_MOST_S:.0f}",
        f"(`traffic.timeout`, {time_limit_s('development')} s; in the image {time_limit_s('production')} s)",
        f"on {100 * fidelity.REQUIRED.same_top1:.0f} % of at least {fidelity.FEWEST} images and confidences within"
        f" {fidelity.REQUIRED.within}",
        f"up to {trial.COMPARING_S:.0f} more where bf16 is faster",
        f"reached {FIRST_MARK} or {LAST_MARK} % of a quota",
    ],
    "SECURITY.md": [f"Keys with {int(api_key.SECRET_CHARS * math.log2(62))} random bits"],
    "deploy/README.md": [
        f"accepts {REQUESTS} requests at once",
        f"without a key {RATE} a second ({BURST} more in a burst)",
        f"It sends {TO_REPLICA} at once to each replica",
    ],
    "docs/admin.md": [f"Pages have at most {admin.MOST_PER_PAGE} users"],
    "docs/api.md": [
        f"within {kept.KEPT_S // HOUR} hours",
        f"longer than {idempotency.MOST_CHARACTERS} characters",
        f"more than {kept_answers.MOST_BYTES // 1024} KiB is not kept",
        f"free again after {kept.LEASE_S} seconds at most",
        f"One request takes up to {FIELDS['max_batch_images'].default} images",
    ],
    "docs/charging.md": [
        f"reached {FIRST_MARK} and {LAST_MARK} % of a quota",
        f"within {webhook_delivery.TIMEOUT_S:.0f} s",
        f"again after {schedule(quota_webhooks.RETRIED_AFTER_S)}",
        f"free again after {reservations.KEPT_S // MINUTE} minutes",
        f"for {meter_run.KNOWN_FOR_S // HOUR} hours there was no answer",
        f"less than {math.ceil(metering.OLDEST_S / DAY)} days ago",
    ],
    "docs/images.md": [
        f"use {decode_pool.CPU_S} s of processor time, an unusual one {decode_pool.UNUSUAL_CPU_S} s,"
        f" and {decoder_process.MEMORY_BYTES // 1024**2} MiB",
    ],
    "docs/models.md": [
        f"on 99 % of images and {fidelity.REQUIRED.largest} on all",
        f"within {fidelity.REQUIRED.within} on 99 %",
    ],
    "docs/operations.md": [
        f"requests, and checks every {gauges.STORES_ASKED_EVERY_S:.0f} s, that a store did not answer",
        f"Every worker asks both stores every {gauges.STORES_ASKED_EVERY_S:.0f} s",
        f"one such pair in {availability.QUIET_S:.0f} s",
        f"request bodies of {assembly.BODIES_AT_ONCE} times the largest allowed size, or of an eighth of the memory",
        f"within the last {authentication.RECENTLY_VALID_S // MINUTE:.0f} minutes",
        f"at most {kept_answers.MOST_BYTES // 1024} KiB each and the newest {kept.MOST_PER_USER:,} of each user",
        f"for at most {kept.LEASE_S} more seconds",
        f"reaches {FIRST_MARK} or {LAST_MARK} % of a quota",
        f"has not for {JOB_S // HOUR} hours, or `meter stripe` for {METER_S // HOUR}.",
        f"for Stripe or your endpoint for {MESSAGE_S // HOUR} hours",
        f"gets no answer is safe to repeat for {meter_run.KNOWN_FOR_S // HOUR} hours",
    ],
    "docs/page.md": [f"the last hour, day or {usage_reads.DEFAULT_SPAN_S['day'] // DAY} days"],
    "docs/scaling.md": ["A worker holds up to five connections to PostgreSQL"],
    "docs/streams.md": [
        f"no message came for {streams.IDLE_S:.0f} s",
        f"at less than {body_limits.LEAST_BYTES_PER_S:,} bytes a second after its first"
        f" {body_limits.PACE_GRACE_S:.0f} s",
        f"One user may have {streams.MOST_STREAMS} WebSockets open in each worker",
        f"a read timeout above {streams.IDLE_S:.0f} s",
    ],
    "docs/decisions/0085-delivered-messages-become-sums.md": [
        f"at least {outbox_pruning.KEPT_AT_LEAST_US // 1_000_000 // DAY} days ago",
    ],
}


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, texts in FIGURES.items() for text in texts])
def test_a_page_has_the_figure_of_the_code(page: str, text: str) -> None:
    assert text in " ".join((PROJECT / page).read_text("utf-8").split())


def test_figures_that_the_documents_write_as_words() -> None:
    """See the README (a third more places), `scaling.md` (connections) and `operations.md` (the others)."""
    assert fair_shares.MULTIPLE_OF_FREE == 3
    assert READ_THREADS + 1 == 5
    assert assembly.SHARE_OF_MEMORY == 1 / 8
    assert recent_keys.REMEMBERED_S == HOUR
    assert deferred_metrics.WRITTEN_EVERY_S == 0.25
    assert (processes.AT_ONCE, processes.IN_S) == (5, MINUTE)
    assert KEY_MEMORY_S == 0.5
    assert streams.OPEN_S == HOUR
    assert configuration.MEASURING_S < 10
    same_rate = (body_limits.PACE_GRACE_S, body_limits.LEAST_BYTES_PER_S)
    assert same_rate == (web_socket_protocol.PACE_GRACE_S, web_socket_protocol.LEAST_BYTES_PER_S)
