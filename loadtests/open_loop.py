"""Callers that wait for nobody: Poisson arrivals, whose latency counts from the time they were due.

A user of this kind stands for one request a second, so that the number of users is the load, in Locust's own reports
and shapes too. A server that stalls can't hold these callers up, and a generator that falls behind is found out: how
late each request was sent is on the record, and too much of it fails the run (`lag_p99_ms`).
"""

import time

from gevent import sleep
from locust import task
from locust.env import Environment

from loadtests.users import Caller

PER_SECOND = 1.0


class PoissonCaller(Caller):
    """Asks once a second on average, at random times."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._due = time.monotonic()

    @task
    def arrive(self) -> None:
        """Wait for the next time, then ask without awaiting the answer."""
        self._due += self.chance.expovariate(PER_SECOND)
        sleep(max(0.0, self._due - time.monotonic()))
        self.send(self.pick(), self._due)
