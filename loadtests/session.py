"""Prepares a run of Locust and judges it at the end."""

import gc
import json
from typing import Any

from locust.env import Environment
from locust.event import Events

from loadtests import knee, sending, users
from loadtests.audit import Audit
from loadtests.mixes import MIXES
from loadtests.record import record
from loadtests.settings import LoadSettings
from loadtests.shapes import StepToKnee
from loadtests.slo import Check, judge, judge_knee, read_slo, summary
from storage import usage
from storage.database import Database

PASSED, MISSED, BROKEN = 0, 1, 2
FAILURES_SHOWN = 5


class Session:
    """One run of Locust. It reads limits and usage log before the run, and sets the exit code after it.

    Args:
        settings: the settings of the run.
        events: the events of Locust, which call `start` and `stop`.
    """

    def __init__(self, settings: LoadSettings, events: Events) -> None:
        self._settings = settings
        self._mix = MIXES[settings.mix]
        self._slo = read_slo(settings.slo, settings.mix)
        self._audit: Audit | None = None
        self._database = Database(settings.database_url) if settings.database_url else None
        events.test_start.add_listener(self.start)
        events.test_stop.add_listener(self.stop)

    def start(self, environment: Environment, **_: Any) -> None:
        """Prepare the run, before the first user starts."""
        # A garbage collection in this process would count as latency of the server.
        gc.collect()
        gc.freeze()
        host = environment.host or ""

        def ask(who: str, path: str) -> Any:
            answer = sending.ask(host, self._settings.key_of(who), "GET", path)
            if answer.status != 200:
                raise RuntimeError(f"GET {path} as {who}: {sending.describe(answer)}")
            return json.loads(answer.body)

        self._audit = Audit(ask, self._who(), self._count_rows if self._database else None)
        record.start()

    def stop(self, environment: Environment, **_: Any) -> None:
        """Wait for the requests under way after the last user has stopped, then judge the run."""
        environment.process_exit_code = BROKEN
        users.in_flight.join(2 * sending.TIMEOUT_S)
        if self._audit is None:
            return
        lines, mistakes = self._lines(environment), self._audit.mistakes(record.samples)
        print(f"{self._settings.mix}: {summary(record.samples)}", *lines, sep="\n  ")
        print(f"  limits and usage log: {'; '.join(mistakes) or 'all adds up'}")
        for failure in list(environment.stats.errors.values())[:FAILURES_SHOWN]:
            print(f"  {failure.occurrences} times {failure.name}: {failure.error}")
        environment.process_exit_code = MISSED if mistakes or not all(line.holds for line in lines) else PASSED

    def _lines(self, environment: Environment) -> list[Check]:
        if isinstance(environment.shape_class, StepToKnee):
            knee.write(self._settings.results, environment.shape_class.rates)
            return judge_knee(record.samples, self._slo)
        return judge(record.samples, record.began, self._slo, self._mix.extra_callers == "noisy")

    def _who(self) -> list[str]:
        return ["steady", "noisy"] if self._mix.extra_callers == "noisy" else ["steady"]

    def _count_rows(self) -> int:
        assert self._database is not None
        return self._database.ask(usage.count)
