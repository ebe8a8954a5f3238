"""`python -m auth meter stripe`: what is sent, for whom, and when a run is refused or ends early."""

import io
import json
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import pytest
from sqlalchemy import Connection, text

from auth.cli.main import main
from auth.cli.meter_run import Report
from storage import customers
from storage.clock import iso, unix_us
from storage.database import Database
from testing.clock import Clock
from testing.servers import PROJECT, Server
from tests import stripe_server
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
from tests.raw_sql import RawSql
from tests.stripe_server import Fault, StripeServer

__all__ = ["clock", "database", "operator", "stripe"]


def test_each_hour_that_has_ended_is_sent_once(operator: Server, stripe: StripeServer) -> None:
    ada, bob = new_customer(operator, "ada"), new_customer(operator, "bob")
    eve = operator.create_key("eve@example.org")
    log(operator, ada, (hour_ago(3), 4), (hour_ago(3), 1), (hour_ago(2), 7), (hour_ago(-2), 100), (hour_ago(50), 1000))
    log(operator, bob, (hour_ago(3), 2), (hour_ago(3), 0))
    log(operator, eve, (hour_ago(3), 9))
    assert meter(operator) == {"events": 3, "images": 14}
    told = sorted((event.customer, event.timestamp, event.value) for event in stripe.events)
    assert told == [("cus_ada", hour_ago(3), 5), ("cus_ada", hour_ago(2), 7), ("cus_bob", hour_ago(3), 2)]
    assert {event.name for event in stripe.events} == {"images"}
    assert meter(operator) == {"events": 0, "images": 0}
    # Rows that are logged late are sent as the difference.
    log(operator, ada, (hour_ago(3), 6))
    assert meter(operator) == {"events": 1, "images": 6}
    assert (stripe.images_of("cus_ada"), len(stripe.asked)) == (18, 4)


def test_what_would_be_sent_is_shown_without_a_key_and_nothing_is_written(
    operator: Server, stripe: StripeServer
) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, (hour_ago(3), 5))
    del operator.environment["CLASSIFIER_STRIPE_KEY"]
    shown = meter(operator, "--dry-run")
    hour = f"{str(iso(hour_ago(3) * SECOND_US))[:13]}Z"
    identifier = f"{ada['user_id']}/{hour}/1"
    assert shown == {
        "would_send": [{"user_id": ada["user_id"], "hour": hour, "images": 5, "identifier": identifier}],
        "images": 5,
    }
    assert meter(operator, "--dry-run") == shown
    assert identifier in operator.auth("meter", "stripe", "--dry-run").stdout
    assert "CLASSIFIER_STRIPE_KEY" in refused(operator, "meter", "stripe")
    assert stripe.asked == []


def test_a_customer_is_billed_from_the_next_hour_on_unless_asked(operator: Server, stripe: StripeServer) -> None:
    ada = operator.create_key("ada@example.org")
    log(operator, ada, (hour_ago(3), 5), (hour_ago(-2), 7))
    before_us = unix_us()
    done = operator.auth("set-customer", "ada@example.org", "cus_ada", "--json")
    shown = json.loads(done.stdout)
    assert shown["stripe_customer"] == "cus_ada"
    next_hours = {iso((at_us // SECOND_US // HOUR_S + 1) * HOUR_S * SECOND_US) for at_us in (before_us, unix_us())}
    assert shown["stripe_from"] in next_hours
    assert meter(operator) == {"events": 0, "images": 0}
    # The hour stays if the customer is another one.
    operator.auth("set-customer", "ada@example.org", "cus_ada2")
    assert json.loads(operator.auth("show", ada["user_id"], "--json").stdout)["stripe_from"] == shown["stripe_from"]
    operator.auth("set-customer", "ada@example.org", "cus_ada", "--from", str(iso(hour_ago(3) * SECOND_US)))
    assert meter(operator) == {"events": 1, "images": 5}
    operator.auth("set-customer", "ada@example.org", "--none")
    log(operator, ada, (hour_ago(2), 3))
    assert meter(operator) == {"events": 0, "images": 0}
    changes = json.loads(operator.auth("audit", "--json").stdout)["entries"]
    named = [entry["detail"]["stripe_customer"] for entry in changes if entry["action"] == "set-customer"]
    assert named == ["cus_ada", "cus_ada2", "cus_ada", None]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["ada@example.org", "ada"], 2, "cus_"),
        (["ada@example.org"], 2, "--none"),
        (["ada@example.org", "cus_1", "--from", "2026-11-01T10:30Z"], 1, "start of an hour"),
        (["ada@example.org", "cus_1", "--from", "2020-11-01"], 1, "35 days"),
        (["bob@example.org", "cus_1"], 1, "no user"),
    ],
)
@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_customer_that_can_not_be_is_refused(operator: Server, arguments: list[str], status: int, says: str) -> None:
    operator.create_key("ada@example.org")
    done = operator.auth("set-customer", *arguments)
    assert (done.returncode, says in done.stderr) == (status, True), done.stderr


def test_who_has_a_price_and_no_customer_is_told(operator: Server, stripe: StripeServer) -> None:
    names = ("ada", "gone", "away", "guest", "eve", "bob")
    user_ids = {name: str(operator.create_key(f"{name}@example.org")["user_id"]) for name in names}
    for plan, price in (("pro", "1.50"), ("free", "0")):
        made = operator.auth("plan", "create", plan, "--price", price, "--currency", "EUR")
        assert made.returncode == 0, made.stderr

    def give(plan: str, *names: str) -> None:
        for name in names:
            assert operator.auth("plan", "assign", user_ids[name], plan).returncode == 0

    give("pro", "ada", "gone", "away")
    give("free", "guest")
    operator.auth("set-customer", user_ids["ada"], "cus_ada")
    operator.auth("erase", user_ids["gone"], "--yes")
    operator.auth("disable", user_ids["away"])
    assert meter(operator) == {"events": 0, "images": 0}
    give("pro", "eve", "bob")
    forgotten = sorted([user_ids["eve"], user_ids["bob"]])
    assert meter(operator, "--dry-run")["without_customer"] == forgotten
    assert meter(operator)["without_customer"] == forgotten
    told = operator.auth("meter", "stripe").stdout
    assert f"2 users, such as {forgotten[0]}, have a plan with a price but no customer" in told
    operator.auth("set-customer", forgotten[0], "cus_eve")
    assert f"User {forgotten[1]} has a plan with a price" in operator.auth("meter", "stripe", "--dry-run").stdout


def test_an_erased_user_leaves_no_customer(operator: Server, stripe: StripeServer) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, (hour_ago(3), 5))
    meter(operator)
    log(operator, ada, (hour_ago(3), 2))
    stripe.faults = [Fault(503)] * 3
    assert "503" in refused(operator, "meter", "stripe")
    operator.auth("erase", "ada@example.org", "--yes")
    assert json.loads(operator.auth("show", ada["user_id"], "--json").stdout)["stripe_customer"] is None
    assert "cus_ada" not in operator.auth("audit", "--json").stdout
    assert meter(operator, "--dry-run")["images"] == 2


def test_what_was_not_sent_yet_is_for_the_customer_that_is_named_then(operator: Server, stripe: StripeServer) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, (hour_ago(4), 2), (hour_ago(3), 5))
    # The first event may have been counted, the second one was surely not.
    stripe.faults = [Fault(503), Fault(429, retry_after="60")]
    refused(operator, "meter", "stripe")
    operator.auth("set-customer", ada["user_id"], "cus_bob")
    meter(operator)
    assert [(event.customer, event.value) for event in stripe.events] == [("cus_bob", 5)]
    log(operator, ada, (hour_ago(3), 1), (hour_ago(2), 10))
    stripe.faults = [stripe_server.NO_ACCESS]
    refused(operator, "meter", "stripe")
    operator.auth("set-customer", ada["user_id"], "cus_eve", "--from", str(iso(hour_ago(2) * SECOND_US)))
    meter(operator)
    assert [(event.customer, event.value) for event in stripe.events[1:]] == [("cus_eve", 10)]
    log(operator, ada, (hour_ago(2), 7))
    stripe.faults = [stripe_server.NO_ACCESS]
    refused(operator, "meter", "stripe")
    operator.auth("set-customer", ada["user_id"], "--none")
    assert [row["images"] for row in meter(operator, "--dry-run")["would_send"]] == [2]


@pytest.mark.parametrize("operator", ["postgresql"], indirect=True)
def test_a_customer_that_is_named_while_the_meter_begins_is_waited_for(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    """On SQLite, two who write never do so at once."""
    ada = new_customer(operator, "ada")
    log(operator, ada, (hour_ago(3), 5))
    with ThreadPoolExecutor(1) as pool:

        def name_another(connection: Connection) -> Future[Report]:
            customers.assign(connection, ada["user_id"], "cus_bob", None, unix_us(), "it")
            begun = pool.submit(run, database, stripe, clock)
            with pytest.raises(FutureTimeout):
                begun.result(0.3)
            return begun

        assert database.change(name_another).result().images == 5
    assert [event.customer for event in stripe.events] == ["cus_bob"]


def test_what_stripe_said_of_a_customer_is_erased_with_the_user(operator: Server, stripe: StripeServer) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, (hour_ago(3), 5))
    stripe.faults = [stripe_server.UNKNOWN_CUSTOMER]
    assert "cus_ada" in refused(operator, "meter", "stripe")
    operator.auth("erase", "ada@example.org", "--yes")
    assert "No such customer: 'erased'" in refused(operator, "reconcile")
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        assert "cus_ada" not in str(raw.rows("SELECT * FROM outbox"))
    assert operator.auth("meter", "resolve", ada["user_id"], "--not-counted").returncode == 0


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_terminal_is_told_how_far_it_is(
    operator: Server, stripe: StripeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    log(operator, new_customer(operator, "ada"), *[(hour_ago(hours), 1) for hours in range(2, 6)])
    stripe.delay_s = 0.4
    screen = Screen()
    settings = {name: value for name, value in operator.environment.items() if name.startswith("CLASSIFIER_")}
    with mock.patch.dict("os.environ", settings), redirect_stderr(screen), redirect_stdout(io.StringIO()):
        assert main(["meter", "stripe"]) == 0
    assert re.match(r"[1-4] of 4 events \.\.\.\n", screen.getvalue())
    log(operator, json.loads(operator.auth("list", "--json").stdout)["keys"][0], (hour_ago(7), 1))
    assert "..." not in operator.auth("meter", "stripe").stderr


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_hours_that_stripe_does_not_take_any_more_are_named(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, (hour_ago(3), 5), (hour_ago(2), 6))
    # This one is written in time, but can't be sent for five weeks.
    stripe.faults = [Fault(429, retry_after=str(36 * DAY_S))]
    run(database, stripe, clock)
    clock.advance(36 * DAY_S)
    log(operator, ada, (hour_ago(2), 7))
    report = run(database, stripe, clock)
    assert report.sent == 0
    assert f"User {ada['user_id']}: 7 images" in report.failures[0]
    assert ["35 days ago" in failure for failure in report.failures[1:]] == [True, True]
    assert stripe.images == 0


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_customer_whom_stripe_does_not_know_stops_no_other(operator: Server, stripe: StripeServer) -> None:
    ada, bob = new_customer(operator, "ada"), new_customer(operator, "bob")
    log(operator, ada, (hour_ago(3), 5))
    log(operator, bob, (hour_ago(3), 2))
    customers = sorted([(ada["user_id"], "ada"), (bob["user_id"], "bob")])
    stripe.faults = [stripe_server.UNKNOWN_CUSTOMER]
    said = refused(operator, "meter", "stripe")
    assert f"user {customers[0][0]}" in said
    assert "No such customer" in said
    assert [event.customer for event in stripe.events] == [f"cus_{customers[1][1]}"]
    operator.auth("set-customer", customers[0][0], "cus_right")
    operator.auth("meter", "resolve", customers[0][0], "--not-counted")
    meter(operator)
    assert stripe.images == 7
    assert stripe.events[-1].customer == "cus_right"


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_meter_that_is_not_there_yet_loses_nothing(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    log(operator, new_customer(operator, "ada"), *[(hour_ago(hours), 1) for hours in range(2, 7)])
    stripe.faults = [stripe_server.ABOUT_NO_CUSTOMER] * 5
    assert len(run(database, stripe, clock).failures) == 5
    clock.advance(30 * HOUR_S)
    assert run(database, stripe, clock).images == 5


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_wrong_key_ends_the_run_at_once_and_is_not_told(operator: Server, stripe: StripeServer) -> None:
    log(operator, new_customer(operator, "ada"), (hour_ago(3), 5), (hour_ago(2), 5))
    stripe.faults = [stripe_server.NO_ACCESS]
    assert "CLASSIFIER_STRIPE_KEY" in refused(operator, "meter", "stripe")
    assert len(stripe.asked) == 1


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_more_sent_than_logged_is_refused(operator: Server, database: Database, stripe: StripeServer) -> None:
    ada, bob = new_customer(operator, "ada"), new_customer(operator, "bob")
    log(operator, ada, (hour_ago(3), 5))
    meter(operator)
    database.change(lambda connection: connection.execute(text("UPDATE usage_rollup SET billable = 4")))
    log(operator, bob, (hour_ago(3), 2))
    assert "5 images were sent to Stripe, but the usage log has 4" in refused(operator, "meter", "stripe")
    assert stripe.images_of("cus_bob") == 2


def test_other_commands_do_not_load_stripes_library() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "auth", "meter", "--help"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "auth.cli.meter_commands" in loaded
    assert loaded & {"stripe", "requests"} == set()
