"""`python -m auth meter stripe`: each billable image reaches Stripe once, whatever fails in between."""

import threading
import time
from email.utils import formatdate

import pytest

from auth.cli import meter_run
from auth.cli.meter_run import Report
from auth.cli.stripe_sender import StripeSender
from storage.database import Database
from storage.outbox import Message
from testing.clock import Clock
from testing.servers import Server
from tests import stripe_server
from tests.metering import (
    DAY_S,
    HOUR_S,
    SECOND_US,
    clock,
    database,
    hour_ago,
    log,
    new_customer,
    operator,
    refused,
    run,
    stripe,
)
from tests.stripe_server import KEY, Fault, StripeServer

__all__ = ["clock", "database", "operator", "stripe"]


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

        def send(self, _message: Message) -> meter_run.Delivery:
            clock.advance(meter_run.LEASE_S + 1)
            assert run(database, stripe, clock).sent == 1
            return meter_run.Delivery(False, "no answer", may_be_counted=True)

    meter_run.write(database, clock.now_us)
    meter_run.send(database, Slow(), lambda: clock.now_us)
    clock.advance(DAY_S)
    assert run(database, stripe, clock) == Report()
    assert len(stripe.asked) == 1
