"""Runs mixes without a web page, one after another: finds the knee of each, sends a share of it, checks all SLOs.

`python -m loadtests [MIX ...]`. Without `LOADTEST_URL` it starts its own server, with the stand-in model and a database
in a temporary folder. Exit code: 0 if all SLOs are met; 1 if an SLO is missed, or limits or usage log are wrong; 2 if
there is no verdict.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from loadtests import knee
from loadtests.mixes import MIXES
from loadtests.settings import PREFIX, PROJECT, LoadSettings, load_settings
from loadtests.verdict import EXIT_CODES, Result
from runtime.processes import end_with_parent
from runtime.program import heeded_signals
from testing.servers import run_prepare, running

# Environment variables for Locust, without the prefix.
Variables = dict[str, str]
USUAL_MIXES = ["steady", "noisy"]
UNLIMITED = "100000000/day"
# Images that are admitted are load like any other. A larger limit would measure that, not the effect of refusals.
NOISY_LIMIT = "1/second"
# Locust writes its tables to the CSV files. Without its logging it prints only errors.
_QUIET = ("--headless", "--only-summary", "--skip-log-setup")


_VERDICTS = {EXIT_CODES[Result.PASSED]: "PASSED", EXIT_CODES[Result.FAILED]: "FAILED"}


class CannotTest(Exception):
    """The server or its keys can't be used; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Run the mixes, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__)
    parser.add_argument("mixes", nargs="*", metavar="MIX", help=f"of {', '.join(MIXES)}; default: steady noisy")
    mixes = parser.parse_args(arguments).mixes or USUAL_MIXES
    unknown = [mix for mix in mixes if mix not in MIXES]
    if unknown:
        parser.error(f"there is no mix {', '.join(unknown)}; choose among {', '.join(MIXES)}")
    settings = load_settings()
    folder = settings.results.resolve() / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
    try:
        with _target_variables(settings, mixes) as target:
            codes = [_run(mix, settings, target, folder) for mix in mixes]
    except CannotTest as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    print(f"{_VERDICTS.get(max(codes), 'NO VERDICT')}: reports are in {folder}")
    return max(codes)


@contextmanager
def _target_variables(settings: LoadSettings, mixes: list[str]) -> Iterator[Variables]:
    """Yield the variables that name a server and its keys; the server is started if `LOADTEST_URL` is not set.

    Raises:
        CannotTest: there is no usable server, or no key that it accepts.
    """
    if settings.url is not None:
        _check_keys(settings, mixes)
        yield {"URL": settings.url}
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("starting a server with the stand-in ...", flush=True)
        prepared = run_prepare(folder / "prepared" / "models", CLASSIFIER_OFFLINE_MODEL="only")
        if prepared.returncode != 0:
            raise CannotTest(prepared.stderr)
        with running(folder / "server", folder / "prepared" / "models") as server:
            yield {
                "URL": server.url,
                "KEY": server.create_key("steady@example.org", "--limit", UNLIMITED)["key"],
                "NOISY_KEY": server.create_key("noisy@example.org", "--limit", NOISY_LIMIT)["key"],
                "DATABASE_URL": server.environment["CLASSIFIER_DATABASE_URL"],
            }


def _check_keys(settings: LoadSettings, mixes: list[str]) -> None:
    """Check that the server answers and accepts the keys.

    Raises:
        CannotTest: it does not answer, or refuses a key.
    """
    needs_two = any(MIXES[mix].extra_callers == "noisy" for mix in mixes)
    for who, name in (("steady", "KEY"), ("noisy", "NOISY_KEY"))[: 2 if needs_two else 1]:
        key = settings.key_of(who)
        if not key:
            raise CannotTest(f"{PREFIX}{name} must be a key of {settings.url}")
        try:
            status = httpx.get(f"{settings.url}/v2/limits", headers={"Authorization": f"Bearer {key}"}).status_code
        except httpx.HTTPError as error:
            raise CannotTest(f"{settings.url} does not answer: {error}") from None
        if status != 200:
            raise CannotTest(f"{settings.url}/v2/limits answers {status} to {PREFIX}{name}")


def _run(mix: str, settings: LoadSettings, target: Variables, folder: Path) -> int:
    """Find the knee, unless a rate is set, then run the mix. Return Locust's exit code."""
    results = folder / mix
    results.mkdir(parents=True)
    variables = {**target, "MIX": mix, "RESULTS": str(results)}
    rate = settings.rate
    if rate is None:
        code = _locust({**variables, "FINDS_KNEE": "true"})
        if code != 0:
            return code
        carried, share = knee.read(results), settings.share or MIXES[mix].share
        rate = share * carried
        print(f"{mix}: the knee is at {carried:.1f} answers/s; running at {100 * share:.0f} % of it", flush=True)
    return _locust({**variables, "RATE": str(rate)}, "--html", f"{results}/report.html", "--csv", f"{results}/stats")


def _locust(variables: Variables, *options: str) -> int:
    """Run Locust, and return its exit code.

    It needs a process of its own: importing Locust replaces Python's sockets and threads by those of gevent.
    """
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        "loadtests/locustfile.py",
        "--host",
        variables["URL"],
        *_QUIET,
        *options,
    ]
    environment = {**os.environ, **{PREFIX + name: value for name, value in variables.items()}}
    # In a session of its own: the signal that ends this process reaches Locust once, from here. The kernel sends it if
    # this process is killed, or ends while Locust is about to start.
    apart: dict[str, Any] = {"stdin": subprocess.DEVNULL, "start_new_session": True, "preexec_fn": end_with_parent}
    with subprocess.Popen(command, cwd=PROJECT, env=environment, **apart) as locust:
        try:
            return locust.wait()
        except (KeyboardInterrupt, SystemExit):
            locust.terminate()
            locust.wait()
            raise


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    # By default a signal ends Python at once, while Locust and the server that it started go on.
    for number in heeded_signals():
        signal.signal(number, _end)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
