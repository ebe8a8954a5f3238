"""Locust's users: what every caller does, those that wait for their answer, and those that arrive all at once."""

import itertools
import math
import random
import time
from collections.abc import Mapping
from typing import ClassVar

from gevent import Greenlet, sleep
from gevent.pool import Group
from locust import User, task
from locust.env import Environment

from loadtests import sending
from loadtests.kinds import KINDS, Kind
from loadtests.neighbours import is_noisy
from loadtests.record import Outcome, Sample, outcome, record
from loadtests.settings import load_settings

NOISY_CALLERS = 1
NOISY_PAUSE_S = 0.02
STAMPEDE_CALLERS = 40
STAMPEDE_EVERY_S = 5.0
# Requests outlive the users that sent them: their answers are counted also when Locust has stopped the user.
in_flight = Group()
_numbers = itertools.count()


class UnexpectedAnswer(Exception):
    """An answer that this caller should not have got."""


class Caller(User):
    """Sends requests of some kinds, at random but the same ones in every run.

    Attributes:
        who: whose key it has.
        sends: the name of each kind and its weight.
    """

    abstract = True
    who: ClassVar[str] = "steady"
    sends: ClassVar[Mapping[str, int]] = {}

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.chance = random.Random(next(_numbers))
        self._key = load_settings().key_of(self.who)
        self._kinds = [KINDS[name] for name in self.sends]
        self._weights = list(itertools.accumulate(self.sends.values()))

    def pick(self) -> Kind:
        """What to send next."""
        return self.chance.choices(self._kinds, cum_weights=self._weights)[0]

    def send(self, kind: Kind, due: float | None = None) -> Greenlet:
        """Send it without waiting; its latency counts from the time it was due, monotonic seconds (None: now)."""
        return in_flight.spawn(self._send, kind, time.monotonic() if due is None else due)

    def _send(self, kind: Kind, due: float) -> None:
        began = time.monotonic()
        answer = sending.send(self.host or "", self._key, kind)
        answered = time.monotonic()
        result = outcome(kind, self.who, answer.status, answer.retry_after, answer.body)
        sample = Sample(self.who, kind, due, began, answered, answer.status, result)
        record.samples.append(sample)
        self.environment.events.request.fire(
            request_type=kind.method,
            name=_name(sample),
            response_time=sample.ms,
            response_length=len(answer.body),
            exception=UnexpectedAnswer(sending.describe(answer)) if result is Outcome.FAILED else None,
            context={},
        )


def _name(sample: Sample) -> str:
    """What the report calls it: expected refusals stand apart from answers."""
    whose = "noisy" if sample.who == "noisy" else sample.kind.name
    apart = f"{sample.status} " if sample.outcome in (Outcome.LIMITED, Outcome.SHED) else ""
    return f"{apart}{sample.kind.path} ({whose})"


class ClosedLoopCaller(Caller):
    """Sends its next request when it has the answer to the last: so many of them find the knee."""

    @task
    def ask(self) -> None:
        """One request and its answer."""
        self.send(self.pick()).join()


class NoisyNeighbour(Caller):
    """Asks for far more than its limit, whatever it is told; in turns, see `neighbours.py`."""

    who = "noisy"
    sends: ClassVar[Mapping[str, int]] = {"photo": 1}
    fixed_count = NOISY_CALLERS

    @task
    def send_next(self) -> None:
        """One request, refused or not, and the next at once."""
        if is_noisy(time.monotonic() - record.began):
            self.send(self.pick()).join()
        sleep(NOISY_PAUSE_S)


class Stampede(Caller):
    """Comes at the same moment as all others of its kind."""

    sends: ClassVar[Mapping[str, int]] = {"stampede": 1}
    fixed_count = STAMPEDE_CALLERS

    @task
    def arrive(self) -> None:
        """Wait for the moment, then ask."""
        passed_s = time.monotonic() - record.began
        due = record.began + STAMPEDE_EVERY_S * (math.floor(passed_s / STAMPEDE_EVERY_S) + 1)
        sleep(due - time.monotonic())
        self.send(self.pick(), due)
