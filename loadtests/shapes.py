"""Load over time. A user of `open_loop.py` is one request a second, so these count users and mean requests."""

from typing import ClassVar, Self

from locust import LoadTestShape

from loadtests import knee
from loadtests.record import Outcome, record

# Locust warns of more.
USERS_STARTED_PER_S = 100.0
Tick = tuple[int, float] | None


class Level(LoadTestShape):
    """The same load all the time.

    Attributes:
        users: requests a second.
        extra_callers: how many users come besides, such as the noisy neighbour's.
        seconds: how long.
    """

    users: ClassVar[float] = 1.0
    extra_callers: ClassVar[int] = 0
    seconds: ClassVar[float] = 60.0
    times_as_long: ClassVar[float] = 1.0

    @classmethod
    def of(cls, users: float, extra_callers: int, seconds: float) -> type[Self]:
        """This shape for that load."""
        cls.users, cls.extra_callers, cls.seconds = users, extra_callers, seconds
        return cls

    def tick(self) -> Tick:
        """How many users there are to be now; None: the end."""
        passed = self.get_run_time() / (self.times_as_long * self.seconds)
        if passed >= 1:
            return None
        return self.extra_callers + max(1, round(self.users * self.level(passed))), USERS_STARTED_PER_S

    def level(self, _passed: float) -> float:
        """The share of the load when so large a share of the time has passed."""
        return 1.0


class Soak(Level):
    """A slow rise, then the same load; ten times as long as other shapes take."""

    times_as_long = 10.0
    RISES_FOR = 0.1

    def level(self, passed: float) -> float:
        """Rises in ten steps."""
        return min(1.0, 0.1 * (1 + int(10 * passed / self.RISES_FOR)))


class Spike(Level):
    """Far more than can be carried for a fifth of the time, and the usual before and after."""

    TIMES = 6.0

    def level(self, passed: float) -> float:
        """The usual, or the spike."""
        return self.TIMES if 0.4 <= passed < 0.6 else 1.0


class StepToKnee(LoadTestShape):
    """Twice as many callers at each step, until that brings no more answers."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def tick(self) -> Tick:
        """How many callers there are to be now; None: the knee is found."""
        step = int(self.get_run_time() // knee.STEP_S)
        if step > len(self.rates):
            self.rates.append(self._rate(len(self.rates)))
        if knee.is_past(self.rates) or len(self.rates) == len(knee.STEPS):
            return None
        return knee.STEPS[len(self.rates)], USERS_STARTED_PER_S

    def _rate(self, step: int) -> float:
        began = record.began + step * knee.STEP_S
        answered = [sample.answered for sample in record.samples if sample.outcome is Outcome.EXPECTED]
        return knee.rate_at(answered, began + knee.SETTLE_S, began + knee.STEP_S)
