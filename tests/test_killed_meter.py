"""The meter is killed between every two of its steps: what Stripe has counted is what the log has, all the same."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from auth.cli.meter_run import LEASE_S
from testing.clock import Clock
from testing.servers import PROJECT, Server
from tests.killed_meter import PLACES, Order, Outcome
from tests.metering import clock, hour_ago, log, new_customer, operator, stripe
from tests.stripe_server import LOST, StripeServer

__all__ = ["clock", "operator", "stripe"]

KILLS = 24
STEPS = {step for *_, before, after in PLACES for step in (before, after)}


class Meters:
    """Runs meters, one after the other."""

    def __init__(self, process: "subprocess.Popen[str]", clock: Clock) -> None:
        self._process = process
        self._clock = clock

    def run(self, kill_at: int | None = None, *, sends_first: bool = False) -> Outcome:
        """One run, at a time when no earlier one holds a message any more."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._clock.advance(LEASE_S)
        self._process.stdin.write(json.dumps(Order(self._clock.now_us, kill_at, sends_first)) + "\n")
        self._process.stdin.flush()
        return Outcome(*json.loads(self._process.stdout.readline()))


@contextmanager
def meters(operator: Server, clock: Clock) -> Iterator[Meters]:
    command = [sys.executable, "-m", "tests.killed_meter"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=PROJECT, env=operator.environment, **pipes) as process:
        yield Meters(process, clock)
        assert process.stdin is not None
        process.stdin.close()


def killed_between_all_steps(operator: Server, stripe: StripeServer, clock: Clock, **which: bool) -> dict[str, int]:
    """Kill meters while the log grows, and let the last one end. The images that were logged, by customer."""
    keys = {name: new_customer(operator, name) for name in ("ada", "bob")}
    logged, killed_after = dict.fromkeys(keys, 0), set[str]()
    with meters(operator, clock) as meter:
        for kill in range(KILLS):
            for number, name in enumerate(keys):
                # One hour that grows while it is sent, and one that is new.
                log(operator, keys[name], (hour_ago(40), kill + 1), (hour_ago(39 - kill), 10 + number))
                logged[name] += kill + 1 + 10 + number
            if kill % 8 == 0:
                stripe.faults = [LOST]
            ended = meter.run(kill, **which)
            assert (ended.status, len(ended.steps)) == (-9, kill)
            killed_after |= set(ended.steps[-1:])
        assert meter.run(**which).status == 0
    assert killed_after == STEPS
    return logged


def counted(stripe: StripeServer) -> dict[str, int]:
    return {name: stripe.images_of(f"cus_{name}") for name in ("ada", "bob")}


def test_stripe_has_counted_what_the_log_has(operator: Server, stripe: StripeServer, clock: Clock) -> None:
    logged = killed_between_all_steps(operator, stripe, clock)
    assert counted(stripe) == logged
    assert operator.auth("reconcile").returncode == 0


@pytest.mark.parametrize("operator", ["sqlite"], indirect=True)
def test_a_meter_that_sends_before_it_writes_is_caught(operator: Server, stripe: StripeServer, clock: Clock) -> None:
    logged = killed_between_all_steps(operator, stripe, clock, sends_first=True)
    assert counted(stripe) != logged
