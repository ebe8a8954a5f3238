"""Callers in an open loop: they send at the times of a Poisson process and do not wait for answers.

Latency counts from the time a request was due. One user sends one request per second on average, so the number of users
is the load, also in Locust's reports and shapes. A server that stalls does not slow these callers down. If the
generator falls behind, the run fails: how late each request was sent is recorded, and the p99 of that must not exceed
`lag_p99_ms`.
"""

import time

from gevent import sleep
from locust import task
from locust.env import Environment

from loadtests.users import Caller

PER_SECOND = 1.0


class PoissonCaller(Caller):
    """Sends one request per second on average, at random times."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._due = time.monotonic()

    @task
    def arrive(self) -> None:
        """Wait until the next request is due, then send it without waiting for the answer."""
        self._due += self.chance.expovariate(PER_SECOND)
        sleep(max(0.0, self._due - time.monotonic()))
        self.send(self.pick(), self._due)
