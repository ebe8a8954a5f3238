"""What /metrics tells of work that runs by itself: its last success, and messages that wait or are given up."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from auth.quota_webhooks import send_due
from auth.webhook_delivery import Endpoint
from inference import gauges
from storage import outbox, users
from storage.clock import unix_us
from storage.database import Database
from storage.outbox import NewMessage
from storage.store import Store
from testing.servers import Server
from testing.store_servers import Postgres
from tests.metering import (
    SECOND_US,
    database,
    hour_ago,
    log,
    meter,
    new_customer,
    operator,
    refused,
    stripe,
)
from tests.stripe_server import Fault, StripeServer
from tests.webhook_receiver import SECRET, receiving

__all__ = ["database", "operator", "stripe"]
COMMANDS = ("backup", "meter", "prune", "reconcile")


@pytest.fixture
def store(operator: Server, database: Database) -> Iterator[Store]:
    operator.create_key("ada@example.org")
    store = Store(operator.environment["CLASSIFIER_DATABASE_URL"])
    yield store
    asyncio.run(store.close())


def successes(store: Store) -> dict[str, float]:
    asyncio.run(gauges.report_jobs(store))
    return {command: gauges.job_success.labels(command)._value.get() for command in COMMANDS}


def ages(store: Store) -> dict[str, float]:
    asyncio.run(gauges.report_jobs(store))
    return {kind: gauges.oldest_message.labels(kind)._value.get() for kind in ("stripe.meter", "quota.reached")}


def test_each_job_that_succeeds_is_told(operator: Server, stripe: StripeServer, store: Store) -> None:
    assert successes(store) == dict.fromkeys(COMMANDS, 0.0)
    began_s = unix_us() / SECOND_US
    for job in (["prune", "--older-than", "400d"], ["reconcile"], ["meter", "stripe"]):
        if job[0] != "reconcile":
            assert operator.auth(*job, "--dry-run").returncode == 0
            assert successes(store)[job[0]] == 0
        assert operator.auth(*job).returncode == 0
        assert began_s <= successes(store)[job[0]] <= unix_us() / SECOND_US
    assert successes(store)["backup"] == 0


def test_a_job_is_done_also_where_its_success_can_not_be_noted(tmp_path: Path, postgres: Postgres) -> None:
    """On a replica that can only be read, where a long check is best made."""
    operator = Server(tmp_path / "it", tmp_path, CLASSIFIER_DATABASE_URL=postgres.new_database())
    operator.create_key("ada@example.org")
    operator.environment["CLASSIFIER_DATABASE_URL"] += "&options=-cdefault_transaction_read_only%3Don"
    done = operator.auth("reconcile", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"agrees": True, "users": 1})
    assert done.stderr.startswith("The success was not noted: The database can only be read")


def test_a_job_that_fails_is_not_told_as_a_success(operator: Server, stripe: StripeServer, store: Store) -> None:
    ada = new_customer(operator, "bob")
    meter(operator)
    before = successes(store)["meter"]
    log(operator, ada, (hour_ago(3), 5))
    stripe.faults = [Fault(503)] * 3
    refused(operator, "meter", "stripe")
    assert successes(store)["meter"] == before > 0


def test_the_oldest_message_that_waits_is_told(database: Database, store: Store) -> None:
    assert ages(store) == {"stripe.meter": 0, "quota.reached": 0}
    user_id = database.ask(lambda connection: users.require(connection, "ada@example.org")).user_id
    for hours in (5, 3):
        old = NewMessage("quota.reached", f"m{hours}", user_id, 0, 80, "{}", unix_us() - hours * 3600 * SECOND_US)
        database.change(partial(outbox.add, messages=[old]))
    told = ages(store)
    assert told["stripe.meter"] == 0
    assert 5 * 3600 <= told["quota.reached"] < 6 * 3600
    [first] = database.change(lambda c: outbox.claim(c, "quota.reached", unix_us(), 1, 1))
    database.change(partial(outbox.settle, message_id=first.id, delivered_us=unix_us()))
    assert 3 * 3600 <= ages(store)["quota.reached"] < 4 * 3600


def given_up() -> float:
    """The counter that the alert on given-up messages goes by; it is there before there is anything to count."""
    count = REGISTRY.get_sample_value("classifier_webhook_attempts_total", {"outcome": "given_up"})
    assert count is not None
    return count


def test_a_message_whose_receiver_is_gone_is_counted_as_given_up(database: Database, store: Store) -> None:
    """It waits for nothing any more, so its age tells nothing."""
    before = given_up()
    user_id = database.ask(lambda connection: users.require(connection, "ada@example.org")).user_id
    due = NewMessage("quota.reached", "due", user_id, 0, 80, "{}", unix_us() - SECOND_US)
    database.change(partial(outbox.add, messages=[due]))
    with receiving() as receiver:
        receiver.answers = [(410, {})]
        asyncio.run(send_due(store, Endpoint(receiver.url, (SECRET,))))
    assert given_up() == before + 1
    assert ages(store)["quota.reached"] == 0
