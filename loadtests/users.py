"""The callers, which are users of Locust: in a closed loop, the noisy neighbour, and those that send all at once."""

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
# Requests under way. Their answers count even if Locust has stopped the user that sent them.
in_flight = Group()
_numbers = itertools.count()


class UnexpectedAnswer(Exception):
    """The answer to a request was not the expected one."""


class Caller(User):
    """Sends requests of some kinds, in a random order that is the same in every run.

    Attributes:
        who: the name of its key, "steady" or "noisy".
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
        """Choose the kind of the next request."""
        return self.chance.choices(self._kinds, cum_weights=self._weights)[0]

    def send(self, kind: Kind, due: float | None = None) -> Greenlet:
        """Send a request without waiting; its latency counts from `due`, monotonic seconds (None: now)."""
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
    """Return the name in the report: expected refusals have rows of their own."""
    whose = "noisy" if sample.who == "noisy" else sample.kind.name
    apart = f"{sample.status} " if sample.outcome in (Outcome.LIMITED, Outcome.SHED) else ""
    return f"{apart}{sample.kind.path} ({whose})"


class ClosedLoopCaller(Caller):
    """Sends its next request once it has the answer to the last; many such callers find the knee."""

    @task
    def ask(self) -> None:
        """Send a request and wait for its answer."""
        self.send(self.pick()).join()


class NoisyNeighbour(Caller):
    """Sends far more than its limit, whatever the answers, in turns (see `neighbours.py`)."""

    who = "noisy"
    sends: ClassVar[Mapping[str, int]] = {"photo": 1}
    fixed_count = NOISY_CALLERS

    @task
    def send_next(self) -> None:
        """Send a request in its turn and wait for its answer, refused or not; the next follows at once."""
        if is_noisy(time.monotonic() - record.began):
            self.send(self.pick()).join()
        sleep(NOISY_PAUSE_S)


class Stampede(Caller):
    """Sends at the same moment as all other callers of this class."""

    sends: ClassVar[Mapping[str, int]] = {"stampede": 1}
    fixed_count = STAMPEDE_CALLERS

    @task
    def arrive(self) -> None:
        """Wait for the next common moment, then send."""
        passed_s = time.monotonic() - record.began
        due = record.began + STAMPEDE_EVERY_S * (math.floor(passed_s / STAMPEDE_EVERY_S) + 1)
        sleep(due - time.monotonic())
        self.send(self.pick(), due)
