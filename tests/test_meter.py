"""`python -m auth meter stripe`: each billable image reaches Stripe once, whatever fails in between."""

import asyncio
import io
import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from email.utils import formatdate
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import text

from auth.cli import meter_run
from auth.cli.main import main
from auth.cli.meter_run import Report
from auth.cli.stripe_sender import StripeSender
from storage.clock import iso, unix_us
from storage.database import Database
from storage.outbox import Message
from storage.store import Store
from storage.usage import UsageRow
from testing.clock import Clock
from testing.servers import PROJECT, Server
from testing.store_servers import Postgres
from tests import stripe_server
from tests.stripe_server import KEY, Fault, StripeServer

HOUR_S, DAY_S, SECOND_US = 3600, 86400, 1_000_000
# The hour in which the tests begin. They may end in the next one.
THIS_HOUR_S = unix_us() // SECOND_US // HOUR_S * HOUR_S
_numbers = itertools.count(1)


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    server = StripeServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def operator(request: pytest.FixtureRequest, tmp_path: Path, stripe: StripeServer) -> Server:
    """The command line with a database of its own, and a Stripe."""
    settings = {"CLASSIFIER_STRIPE_KEY": KEY, "CLASSIFIER_STRIPE_API": stripe.url}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        settings["CLASSIFIER_DATABASE_URL"] = postgres.new_database()
    return Server(tmp_path / "it", tmp_path, **settings)


@pytest.fixture
def database(operator: Server) -> Iterator[Database]:
    database = Database(operator.environment["CLASSIFIER_DATABASE_URL"])
    yield database
    database.close()


@pytest.fixture
def clock(stripe: StripeServer) -> Clock:
    """A quarter past an hour; Stripe's clock goes with it."""
    clock = Clock((THIS_HOUR_S + 900) * SECOND_US)
    stripe.now_s = lambda: clock.now_us / SECOND_US
    return clock


def hour_ago(hours: int) -> int:
    """The start of an hour, Unix seconds."""
    return THIS_HOUR_S - hours * HOUR_S


def new_customer(operator: Server, name: str, hours: int = 48) -> dict[str, Any]:
    """A user whose images are sent from so many hours ago on; the customer has the user's name."""
    key = operator.create_key(f"{name}@example.org")
    since = str(iso(hour_ago(hours) * SECOND_US))
    done = operator.auth("set-customer", f"{name}@example.org", f"cus_{name}", "--from", since)
    assert done.returncode == 0, done.stderr
    return key


def log(operator: Server, key: dict[str, Any], *rows: tuple[int, int]) -> None:
    """Write a usage row for each pair of an hour's start and billable images."""

    async def record() -> None:
        store = Store(operator.environment["CLASSIFIER_DATABASE_URL"])
        for hour_s, images in rows:
            known = (f"req_{next(_numbers)}", key["user_id"], key["key_id"], "/v2/classify/batch", "POST", 200, 5.0)
            await store.record(UsageRow(*known, hour_s * SECOND_US + 1, images, images))
        await store.close()

    asyncio.run(record())


def meter(operator: Server, *options: str) -> dict[str, Any]:
    done = operator.auth("meter", "stripe", "--json", *options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refused(operator: Server, *arguments: str) -> str:
    done = operator.auth(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert KEY not in done.stderr
    return done.stderr


def run(database: Database, stripe: StripeServer, clock: Clock, slept: list[float] | None = None) -> Report:
    """One run of the meter at the clock's time."""
    problems = meter_run.write(database, clock.now_us)
    sender = StripeSender(KEY, "images", stripe.url)
    waits: list[float] = [] if slept is None else slept
    report = meter_run.send(database, sender, lambda: clock.now_us, waits.append)
    sender.close()
    report.failures[:0] = problems
    return report


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


@pytest.mark.parametrize("fault", [stripe_server.LOST, stripe_server.CLOSED, Fault(500), Fault(500, counts=True)])
def test_an_event_without_a_good_answer_is_sent_again_and_counted_once(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock, fault: Fault
) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, (hour_ago(3), 5))
    stripe.faults = [fault]
    slept: list[float] = []
    assert run(database, stripe, clock, slept).sent == 0
    assert slept == [1.0]
    clock.advance(59)
    assert run(database, stripe, clock).sent == 0
    clock.advance(1)
    report = run(database, stripe, clock)
    assert (report.sent, report.images, report.failures) == (1, 5, [])
    assert stripe.images == 5
    assert len(set(stripe.asked)) == 1


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_an_event_that_stripe_has_already_is_delivered(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    log(operator, new_customer(operator, "ada"), (hour_ago(3), 5))
    stripe.faults = [stripe_server.REPEATED]
    assert run(database, stripe, clock).images == stripe.images == 5
    clock.advance(HOUR_S)
    assert run(database, stripe, clock) == Report()
    assert len(stripe.asked) == 1


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_an_event_whose_answer_is_too_late_is_sent_again_and_counted_once(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    log(operator, new_customer(operator, "ada"), (hour_ago(3), 5))
    stripe.delay_s = 2
    meter_run.write(database, clock.now_us)
    sender = StripeSender(KEY, "images", stripe.url, timeout_s=(30, 0.2))
    report = meter_run.send(database, sender, lambda: clock.now_us, lambda _seconds: None)
    sender.close()
    assert ["did not answer" in failure for failure in report.failures] == [True]
    stripe.delay_s = 0
    clock.advance(HOUR_S)
    # The first request may still be under way: the second one is then the one that counts, and the first repeats it.
    assert run(database, stripe, clock).images == 5
    deadline_s = time.monotonic() + 60
    while len(stripe.asked) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert (len(stripe.asked), stripe.images) == (2, 5)


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_clock_that_is_ahead_does_no_harm(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    """Stripe refuses an event that lies more than five minutes in the future."""
    stripe.now_s = lambda: clock.now_us / SECOND_US - 3000
    log(operator, new_customer(operator, "ada"), (hour_ago(1), 5))
    assert run(database, stripe, clock).images == 5


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_the_time_to_wait_may_be_a_date(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    log(operator, new_customer(operator, "ada"), (hour_ago(3), 5), (hour_ago(2), 5))
    stripe.faults = [Fault(503, retry_after=formatdate(time.time() + 7200, usegmt=True))]
    assert len(run(database, stripe, clock).failures) == 1
    clock.advance(HOUR_S)
    assert run(database, stripe, clock).images == 5
    clock.advance(HOUR_S)
    assert run(database, stripe, clock).images == 5


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
@pytest.mark.parametrize("asked", ["9" * 30, "9" * 400, "-5", "soon", "Thu, 31 Dec 9999 23:59:59 GMT"])
def test_a_time_to_wait_that_makes_no_sense_ends_no_run(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock, asked: str
) -> None:
    log(operator, new_customer(operator, "ada"), (hour_ago(3), 5))
    stripe.faults = [Fault(429, code="rate_limit", retry_after=asked)]
    assert run(database, stripe, clock).failures


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
def test_a_stripe_that_is_busy_is_given_the_time_it_asks_for(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, *[(hour_ago(hours), 1) for hours in range(2, 12)])
    stripe.faults = [Fault(429, code="rate_limit", retry_after="7"), Fault(429, retry_after="600")]
    slept: list[float] = []
    report = run(database, stripe, clock, slept)
    # After the second, which asks for more time than a run has, nothing else is tried.
    assert (slept, len(stripe.asked), report.sent) == ([7.0], 2, 0)
    clock.advance(599)
    assert run(database, stripe, clock).images == 9
    clock.advance(1)
    assert run(database, stripe, clock).images == 1
    assert stripe.images == 10


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_stripe_that_is_away_is_asked_three_times_and_later_again(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, *[(hour_ago(hours), 1) for hours in range(2, 12)])
    stripe.close()
    slept: list[float] = []
    report = run(database, stripe, clock, slept)
    assert (report.sent, len(report.failures), slept) == (0, 3, [1.0, 2.0])
    assert "can't be reached" in report.failures[0]
    # Stripe has surely not got them, so that they are not given up after a weekend without a network.
    clock.advance(70 * HOUR_S)
    again = StripeServer()
    again.now_s = stripe.now_s
    assert run(database, again, clock).images == 10
    again.close()


def test_an_unconfirmed_event_is_not_sent_again_after_a_day(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    """Stripe knows identifiers for 24 hours: after that, it would count the event a second time."""
    ada = new_customer(operator, "ada")
    log(operator, ada, (hour_ago(3), 5))
    stripe.faults = [stripe_server.LOST]
    run(database, stripe, clock)
    clock.advance(25 * HOUR_S)
    report = run(database, stripe, clock)
    assert "nobody knows" in report.failures[0]
    clock.advance(HOUR_S)
    assert run(database, stripe, clock) == Report()
    assert (stripe.images, len(stripe.asked)) == (5, 1)


def test_the_owner_settles_what_was_given_up(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, (hour_ago(3), 5), (hour_ago(2), 6))
    stripe.faults = [stripe_server.LOST, stripe_server.CLOSED]
    run(database, stripe, clock)
    clock.advance(25 * HOUR_S)
    assert len(run(database, stripe, clock).failures) == 2
    first, second = stripe.asked
    assert operator.auth("meter", "resolve", first, "--counted").returncode == 0
    assert "6 images were not counted" in operator.auth("meter", "resolve", "ada@example.org", "--not-counted").stdout
    assert run(database, stripe, clock).images == 6
    assert stripe.asked[-1] == second.removesuffix("1") + "2"
    assert stripe.images == 11
    assert "No event" in refused(operator, "meter", "resolve", "ada@example.org", "--counted")


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


def test_two_meters_at_once_send_each_event_once(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    ada = new_customer(operator, "ada")
    log(operator, ada, *[(hour_ago(hours), hours) for hours in range(2, 32)])
    stripe.delay_s = 0.01
    reports: list[Report] = []
    together = threading.Barrier(2)

    def one_meter() -> None:
        together.wait()
        reports.append(run(database, stripe, clock))

    threads = [threading.Thread(target=one_meter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stripe.asked) == sorted(set(stripe.asked))
    assert sum(report.sent for report in reports) == 30
    assert stripe.images == sum(range(2, 32))


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_late_failure_does_not_undo_what_another_meter_delivered(
    operator: Server, database: Database, stripe: StripeServer, clock: Clock
) -> None:
    log(operator, new_customer(operator, "ada"), (hour_ago(3), 5))

    class Slow:
        """Gets no answer, for longer than a message is its own."""

        def send(self, _message: Message) -> meter_run.Answer:
            clock.advance(meter_run.LEASE_S + 1)
            assert run(database, stripe, clock).sent == 1
            return meter_run.Answer(False, "no answer", may_be_counted=True)

    meter_run.write(database, clock.now_us)
    meter_run.send(database, Slow(), lambda: clock.now_us)
    clock.advance(DAY_S)
    assert run(database, stripe, clock) == Report()
    assert len(stripe.asked) == 1


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
