"""Prepares a run of Locust and judges it at the end."""

import gc
import json
import signal
import sys
from contextlib import suppress
from typing import Any

import gevent
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.event import Events

from loadtests import knee, sending, users
from loadtests.audit import Audit
from loadtests.mixes import MIXES
from loadtests.record import record
from loadtests.settings import LoadSettings, server_url, stop
from loadtests.shapes import StepToKnee
from loadtests.slo import judge, judge_knee, read_slo, summary, too_short
from loadtests.verdict import EXIT_CODES, Result, Verdict
from storage import usage
from storage.database import Database

FAILURES_SHOWN = 5
NOT_BEGUN = "the run ended before it had begun"


class CannotAsk(Exception):
    """The server does not answer, or refuses a key; the message says which."""


def refuse_several_processes() -> None:
    """End a run for which Locust would use several processes: each would judge its requests as if they were all.

    Call it while Locust loads its file, before it has started other processes.
    """
    options, _ = get_parser().parse_known_args()
    if options.processes or options.master or options.worker:
        shared = "--processes, --master and --worker"
        stop(f"leave out {shared}: one process must send all requests, to compare them with the usage log.")


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
        self._why_no_audit = NOT_BEGUN
        self._database = Database(settings.database_url) if settings.database_url else None
        events.init.add_listener(self.prepare)
        events.test_start.add_listener(self.start)
        events.test_stop.add_listener(self.stop)
        events.quitting.add_listener(self.end)

    def prepare(self, environment: Environment, **_: Any) -> None:
        """Have SIGTERM end the run as Ctrl-C does."""
        assert environment.runner is not None
        # Locust itself handles SIGTERM only in a run without a load shape.
        gevent.signal_handler(signal.SIGTERM, environment.runner.quit)

    def start(self, environment: Environment, **_: Any) -> None:
        """Prepare the run, before the first user starts."""
        # A garbage collection in this process would count as latency of the server.
        gc.collect()
        gc.freeze()
        self._audit, self._why_no_audit, record.samples = None, NOT_BEGUN, []

        def ask(who: str, path: str, field: str) -> list[Any]:
            answer = sending.ask(host, self._settings.key_of(who), "GET", path)
            if answer.status == 200:
                with suppress(ValueError, LookupError, TypeError):
                    listed = json.loads(answer.body)[field]
                    if isinstance(listed, list):
                        return listed
            raise CannotAsk(f"{host}{path} answers {who!r} with {sending.describe(answer)}")

        try:
            host = server_url(environment.host or self._settings.host)
            self._audit = Audit(ask, self._settings.who, self._count_rows if self._database else None)
        except (CannotAsk, ValueError) as error:
            self._why_no_audit = str(error)
            assert environment.runner is not None
            # Later: Locust is about to start the users now. With its web page, it may be started again.
            gevent.spawn(environment.runner.quit if environment.web_ui is None else environment.runner.stop)
        record.start()

    def stop(self, environment: Environment, **_: Any) -> None:
        """Wait for the requests under way after the last user has stopped, then judge the run."""
        environment.process_exit_code = EXIT_CODES[Result.NONE]
        users.in_flight.join(2 * sending.TIMEOUT_S)
        try:
            verdict = self._judge(environment)
        except CannotAsk as error:
            print(f"ERROR: no verdict: {error}", file=sys.stderr)
            # In place of the verdict of an earlier run.
            Verdict(self._settings.mix, summary(record.samples), [], [], str(error)).write(self._settings.results)
            return
        print(verdict)
        for failure in list(environment.stats.errors.values())[:FAILURES_SHOWN]:
            print(f"  {failure.occurrences} times {failure.name}: {failure.error}")
        print(f"  {verdict.result}; written to {verdict.write(self._settings.results)}")
        environment.process_exit_code = EXIT_CODES[verdict.result]

    def end(self, environment: Environment, **_: Any) -> None:
        """End and judge a run that a signal stops, before Locust reads the exit code."""
        assert environment.runner is not None
        environment.runner.stop()

    def _judge(self, environment: Environment) -> Verdict:
        """Judge the run; one that only finds the knee is never too short."""
        if self._audit is None:
            raise CannotAsk(self._why_no_audit)
        samples, mix = record.samples, self._settings.mix
        mistakes = self._audit.mistakes(samples)
        if isinstance(environment.shape_class, StepToKnee):
            rates, checks = environment.shape_class.rates, judge_knee(samples, self._slo)
            if any(rates):
                knee.write(self._settings.results, rates)
            none_found = not any(rates) and all(check.holds for check in checks)
            return Verdict(mix, summary(samples), checks, mistakes, "the knee was not found" if none_found else None)
        checks = judge(samples, record.began, self._slo, self._mix.extra_callers == "noisy")
        return Verdict(mix, summary(samples), checks, mistakes, too_short(samples, self._slo))

    def _count_rows(self) -> int:
        assert self._database is not None
        return self._database.ask(usage.count)
