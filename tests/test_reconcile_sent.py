"""`python -m auth reconcile` on what was sent to Stripe: it agrees with the log, or the first difference is named."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from storage.clock import iso
from storage.database import Database
from testing.clock import Clock
from testing.servers import Server
from tests.metering import (
    DAY_S,
    HOUR_S,
    SECOND_US,
    clock,
    database,
    hour_ago,
    log,
    meter,
    new_customer,
    operator,
    refused,
    run,
    stripe,
)
from tests.stripe_server import LOST, Fault, StripeServer

__all__ = ["clock", "database", "operator", "stripe"]

OLD = 30  # The hours of an hour that every run of the meter must have seen.


@pytest.fixture
def ada(operator: Server) -> dict[str, Any]:
    return new_customer(operator, "ada")


def reconciled(operator: Server) -> dict[str, int]:
    done = operator.auth("reconcile", "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)["stripe"]
    return told


def change_outbox(database: Database, statement: str) -> None:
    database.change(lambda connection: connection.execute(text(statement)))


def month(hours: int) -> str:
    return str(iso(hour_ago(hours) * SECOND_US))[:7]


def test_what_was_sent_agrees_and_what_is_due_is_told(
    operator: Server, stripe: StripeServer, ada: dict[str, Any]
) -> None:
    log(operator, ada, (hour_ago(OLD), 5), (hour_ago(2), 7), (hour_ago(50), 1000))
    stripe.faults = [Fault(503)] * 2
    refused(operator, "meter", "stripe")
    assert reconciled(operator) == {"sent": 0, "due": 12, "not_sent_yet": 0}
    log(operator, ada, (hour_ago(3), 9))
    assert reconciled(operator) == {"sent": 0, "due": 12, "not_sent_yet": 9}
    assert meter(operator)["images"] == 9
    assert reconciled(operator) == {"sent": 9, "due": 12, "not_sent_yet": 0}
    assert "9 images; 12 wait for the next `meter stripe`" in operator.auth("reconcile").stdout


def test_a_day_without_a_meter_is_a_difference(operator: Server, stripe: StripeServer, ada: dict[str, Any]) -> None:
    bob = operator.create_key("bob@example.org")
    log(operator, bob, (hour_ago(OLD), 3))
    log(operator, ada, (hour_ago(OLD), 5))
    said = refused(operator, "reconcile")
    assert f"User {ada['user_id']} in {month(OLD)}: 5 billable images in the usage log, 0 in what was sent" in said
    meter(operator)
    assert reconciled(operator)["sent"] == 5


@pytest.mark.parametrize(
    ("change", "hours", "said"),
    [
        ("UPDATE outbox SET value = value + 1", OLD, "5 billable images in the usage log, 6 in"),
        ("DELETE FROM outbox", OLD, "5 billable images in the usage log, 0 in"),
        ("UPDATE outbox SET value = value + 1", 2, "0 billable images in the usage log, 1 in"),
        ("UPDATE outbox SET period_s = period_s + 3600", OLD, None),
    ],
    ids=["more", "lost", "more of today", "another hour of the month"],
)
def test_a_changed_outbox_is_found(
    operator: Server,
    stripe: StripeServer,
    database: Database,
    ada: dict[str, Any],
    change: str,
    hours: int,
    said: str | None,
) -> None:
    log(operator, ada, (hour_ago(hours), 5))
    meter(operator)
    change_outbox(database, change)
    if said is None:
        # By month, as bills are; but the next run of the meter finds it.
        assert "sent to Stripe, but the usage log has" in refused(operator, "meter", "stripe")
    else:
        assert f"User {ada['user_id']} in {month(hours)}: {said}" in refused(operator, "reconcile")


def test_what_was_given_up_is_a_difference_until_the_owner_settles_it(
    operator: Server, stripe: StripeServer, database: Database, ada: dict[str, Any], clock: Clock
) -> None:
    log(operator, ada, (hour_ago(3), 5), (hour_ago(2), 7))
    stripe.faults = [LOST]
    run(database, stripe, clock)
    clock.advance(25 * HOUR_S)
    run(database, stripe, clock)
    said = refused(operator, "reconcile")
    assert f"User {ada['user_id']} in {month(3)}: 5 images of " in said
    assert f"`meter resolve {stripe.asked[0]}`" in said
    # Also if nothing more is sent of this user.
    operator.auth("set-customer", "ada@example.org", "--none")
    assert refused(operator, "reconcile") == said
    operator.auth("set-customer", "ada@example.org", "cus_ada", "--from", str(iso(hour_ago(48) * SECOND_US)))
    assert operator.auth("meter", "resolve", stripe.asked[0], "--counted").returncode == 0
    assert reconciled(operator)["sent"] == stripe.images == 12


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_month_and_the_next_are_compared_apart(
    operator: Server, stripe: StripeServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one month has too much does not hide what the next one lacks."""
    ada = new_customer(operator, "ada", hours=34 * 24)
    first_s, second_s = hour_ago(33 * 24), hour_ago(OLD)
    assert month(33 * 24) != month(OLD)
    log(operator, ada, (first_s, 5), (second_s, 5))
    meter(operator)
    clock_us = (hour_ago(0) + 40 * DAY_S) * SECOND_US
    monkeypatch.setattr("auth.cli.sent_check.unix_us", lambda: clock_us)
    assert reconciled(operator)["sent"] == 10
    for start_s, by in ((first_s, 1), (second_s, -1)):
        change_outbox(database, f"UPDATE outbox SET value = value + {by} WHERE period_s = {start_s}")
    assert f"in {month(33 * 24)}: 5 billable images in the usage log, 6 in" in refused(operator, "reconcile")
