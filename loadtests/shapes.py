"""The load over time. A user of `open_loop.py` sends one request per second, so a number of users is a request rate."""

from typing import ClassVar, Self

from locust import LoadTestShape

from loadtests import knee
from loadtests.record import Outcome, record

# Locust warns above this rate.
USERS_STARTED_PER_S = 100.0
Tick = tuple[int, float] | None


class Level(LoadTestShape):
    """A constant load.

    Attributes:
        users: requests per second.
        extra_callers: the number of further users, such as the noisy neighbour.
        seconds: the duration, before `times_as_long`.
        times_as_long: a factor of the duration.
    """

    users: ClassVar[float] = 1.0
    extra_callers: ClassVar[int] = 0
    seconds: ClassVar[float] = 60.0
    times_as_long: ClassVar[float] = 1.0

    @classmethod
    def of(cls, users: float, extra_callers: int, seconds: float) -> type[Self]:
        """Set the load of this shape, and return the shape."""
        cls.users, cls.extra_callers, cls.seconds = users, extra_callers, seconds
        return cls

    def tick(self) -> Tick:
        """Return the number of users now; None at the end."""
        passed = self.get_run_time() / (self.times_as_long * self.seconds)
        if passed >= 1:
            return None
        return self.extra_callers + max(1, round(self.users * self.level(passed))), USERS_STARTED_PER_S

    def level(self, _passed: float) -> float:
        """Return the factor of the load once the share `_passed` (0 to 1) of the time has passed."""
        return 1.0


class Soak(Level):
    """A load that rises slowly and then stays constant, ten times as long as other shapes."""

    times_as_long = 10.0
    RISES_FOR = 0.1

    def level(self, passed: float) -> float:
        """Return a factor that rises in ten steps."""
        return min(1.0, 0.1 * (1 + int(10 * passed / self.RISES_FOR)))


class Spike(Level):
    """The usual load, and for a fifth of the time, in the middle, far more than the server can carry."""

    TIMES = 6.0

    def level(self, passed: float) -> float:
        """Return 1, or `TIMES` in the spike."""
        return self.TIMES if 0.4 <= passed < 0.6 else 1.0


class StepToKnee(LoadTestShape):
    """Doubles the callers at each step, until the rate of answers no longer rises."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def tick(self) -> Tick:
        """Return the number of callers now; None once the knee is found."""
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
