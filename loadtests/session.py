"""Prepares a run of Locust and judges it at the end."""

import gc
import json
import sys
from typing import Any

import gevent
from locust.env import Environment
from locust.event import Events

from loadtests import knee, sending, users
from loadtests.audit import Audit
from loadtests.mixes import MIXES
from loadtests.record import record
from loadtests.settings import LoadSettings
from loadtests.shapes import StepToKnee
from loadtests.slo import judge, judge_knee, read_slo, summary, too_short
from loadtests.verdict import EXIT_CODES, Result, Verdict
from storage import usage
from storage.database import Database

FAILURES_SHOWN = 5


class CannotAsk(Exception):
    """The server does not answer, or refuses a key; the message says which."""


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
        self._why_no_audit = "the run ended before it had begun"
        self._database = Database(settings.database_url) if settings.database_url else None
        events.test_start.add_listener(self.start)
        events.test_stop.add_listener(self.stop)

    def start(self, environment: Environment, **_: Any) -> None:
        """Prepare the run, before the first user starts."""
        # A garbage collection in this process would count as latency of the server.
        gc.collect()
        gc.freeze()
        self._audit, self._why_no_audit = None, ""
        host = environment.host or self._settings.host

        def ask(who: str, path: str) -> Any:
            answer = sending.ask(host, self._settings.key_of(who), "GET", path)
            if answer.status != 200:
                raise CannotAsk(f"{host}{path} answers {who!r} with {sending.describe(answer)}")
            return json.loads(answer.body)

        try:
            self._audit = Audit(ask, self._settings.who, self._count_rows if self._database else None)
        except CannotAsk as error:
            self._why_no_audit = str(error)
            assert environment.runner is not None
            # Later: Locust is about to start the users now. With its web page, it may be started again.
            gevent.spawn(environment.runner.quit if environment.web_ui is None else environment.runner.stop)
        record.start()

    def stop(self, environment: Environment, **_: Any) -> None:
        """Wait for the requests under way after the last user has stopped, then judge the run."""
        environment.process_exit_code = EXIT_CODES[Result.NONE]
        users.in_flight.join(2 * sending.TIMEOUT_S)
        if self._audit is None:
            print(f"ERROR: no verdict: {self._why_no_audit}", file=sys.stderr)
            return
        try:
            verdict = self._judge(environment, self._audit)
        except CannotAsk as error:
            print(f"ERROR: no verdict: {error}", file=sys.stderr)
            return
        print(verdict)
        for failure in list(environment.stats.errors.values())[:FAILURES_SHOWN]:
            print(f"  {failure.occurrences} times {failure.name}: {failure.error}")
        print(f"  {verdict.result}; written to {verdict.write(self._settings.results)}")
        environment.process_exit_code = EXIT_CODES[verdict.result]

    def _judge(self, environment: Environment, audit: Audit) -> Verdict:
        """Judge the run; one that only finds the knee is never too short."""
        samples, mix = record.samples, self._settings.mix
        mistakes = audit.mistakes(samples)
        if isinstance(environment.shape_class, StepToKnee):
            knee.write(self._settings.results, environment.shape_class.rates)
            return Verdict(mix, summary(samples), judge_knee(samples, self._slo), mistakes)
        checks = judge(samples, record.began, self._slo, self._mix.extra_callers == "noisy")
        return Verdict(mix, summary(samples), checks, mistakes, too_short(samples, self._slo))

    def _count_rows(self) -> int:
        assert self._database is not None
        return self._database.ask(usage.count)
