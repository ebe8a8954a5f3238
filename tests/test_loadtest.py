"""Load tests: one that passes, one of a slow server that fails, and what else makes them fail."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr

from loadtests.settings import LoadSettings
from testing.servers import PROJECT, Server
from testing.waiting import wait_until
from tests.loadtest_files import BOUNDS, written

# A healthy server is far below, on any machine: how fast one is, is judged where it is measured at length.
MOST_MS = 20_000
# A slowed server is above, on any machine.
SLOWED_MOST_MS = 400


@dataclass(frozen=True)
class Run:
    """A load test that has ended, and the folder of its results."""

    done: subprocess.CompletedProcess[str]
    folder: Path


def started(
    server: Server, folder: Path, mix: str, user: str, most_ms: int = MOST_MS, **settings: str
) -> subprocess.Popen[str]:
    """A few seconds of `python -m loadtests`, by users of its own."""
    (folder / "slo.toml").write_text(BOUNDS.format(most_ms=most_ms, ratio=100))
    told = {
        "LOADTEST_URL": server.url,
        "LOADTEST_KEY": server.create_key(f"{user}@example.org", "--limit", "100000/minute")["key"],
        "LOADTEST_NOISY_KEY": server.create_key(f"noisy-{user}@example.org", "--limit", "3/second")["key"],
        "LOADTEST_RATE": "15",
        "LOADTEST_SECONDS": "4",
        "LOADTEST_SLO": str(folder / "slo.toml"),
        "LOADTEST_RESULTS": str(folder / "results"),
        **settings,
    }
    command = [sys.executable, "-m", "loadtests", mix]
    return subprocess.Popen(
        command, cwd=PROJECT, env={**os.environ, **told}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(run: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    stdout, stderr = run.communicate()
    return subprocess.CompletedProcess(run.args, run.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def runs(server: Server, model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Three load tests at the same time: together they send far less than a slow machine carries.

    One is of a server whose model takes half a second longer.
    """
    folders = {name: tmp_path_factory.mktemp(name) for name in ("healthy", "noisy", "slowed")}
    slowed = Server(folders["slowed"] / "it", model_store)
    slowed.service = "loadtests.slowed:ImageClassifier"
    slowed.start()
    try:
        under_way = {
            "noisy": started(server, folders["noisy"], "noisy", "beside", LOADTEST_SECONDS="8"),
            "healthy": started(server, folders["healthy"], "steady", "load"),
            "slowed": started(slowed, folders["slowed"], "steady", "load", SLOWED_MOST_MS),
        }
        return {name: Run(ended(run), folders[name]) for name, run in under_way.items()}
    finally:
        slowed.end()


@pytest.mark.alone
def test_a_healthy_server_passes_and_the_run_is_on_paper(runs: dict[str, Run]) -> None:
    done, folder = runs["healthy"].done, runs["healthy"].folder
    assert done.returncode == 0, done.stdout + done.stderr
    assert "photo p50" in done.stdout
    [report] = folder.glob("results/*/steady/report.html")
    assert "/v1/classify (photo)" in report.read_text()
    [requests] = folder.glob("results/*/steady/stats_stats.csv")
    assert "/v1/classify (photo)" in requests.read_text()
    assert written(report.parent)["verdict"] == "passed"


@pytest.mark.alone
def test_a_neighbours_refusals_are_expected_and_counted_apart(runs: dict[str, Run]) -> None:
    done, folder = runs["noisy"].done, runs["noisy"].folder
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all adds up" in done.stdout
    [requests] = folder.glob("results/*/noisy/stats_stats.csv")
    numbers = {row["Name"]: int(row["Request Count"]) for row in csv.DictReader(requests.read_text().splitlines())}
    assert numbers["429 /v1/classify (noisy)"] > numbers["/v1/classify (noisy)"] > 0


def test_a_key_that_the_server_does_not_know_is_told_at_once(server: Server, tmp_path: Path) -> None:
    done = ended(started(server, tmp_path, "steady", "unknown", LOADTEST_KEY="imc_wrong"))
    assert done.returncode == 2
    assert "answers 401 to LOADTEST_KEY" in done.stderr


@pytest.mark.alone
def test_a_slowed_server_fails_and_the_bound_is_named(runs: dict[str, Run]) -> None:
    done = runs["slowed"].done
    assert done.returncode == 1, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if "photo p50" in line]
    assert line.endswith("MISSED")
    [folder] = runs["slowed"].folder.glob("results/*/steady")
    verdict = written(folder)
    assert verdict["verdict"] == "failed"
    [check] = [check for check in verdict["checks"] if check["what"] == "photo p50, ms"]
    assert check["measured"] > check["bound"] == SLOWED_MOST_MS
    assert not check["holds"]


class _Website(BaseHTTPRequestHandler):
    """A website that has a page for every path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>Welcome</h1>")

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def by_hand(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Locust as its documentation teaches to start it, in a folder; Locust finds a `locustfile.py` there by itself."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("LOADTEST_")}
    command = [sys.executable, "-m", "locust", "--headless", *options]
    environment = {**told, **settings}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_locust_by_hand_says_in_one_line_that_a_key_must_be_set() -> None:
    done = by_hand(PROJECT, "-f", "loadtests/locustfile.py")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("ERROR: Set LOADTEST_KEY to an API key")


def test_only_a_mix_with_a_neighbour_needs_a_second_key() -> None:
    assert LoadSettings(key=SecretStr("imc_it"), mix="steady").missing_key() is None
    assert "LOADTEST_NOISY_KEY" in str(LoadSettings(key=SecretStr("imc_it"), mix="noisy").missing_key())


def test_a_run_by_hand_in_its_own_folder_that_is_too_short_has_no_verdict(server: Server, tmp_path: Path) -> None:
    key = server.create_key("hand@example.org", "--limit", "100000/minute")["key"]
    # The first second: Locust's own `--run-time` would count the preparations.
    short = {"LOADTEST_RATE": "2", "LOADTEST_SECONDS": "1", "LOADTEST_RESULTS": str(tmp_path)}
    done = by_hand(PROJECT / "loadtests", LOADTEST_URL=server.url, LOADTEST_KEY=key, **short)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "requests are too few to judge; send at least 200" in done.stdout
    assert "limits and usage log: all adds up" in done.stdout
    assert "MISSED" not in done.stdout
    verdict = written(tmp_path)
    assert (verdict["verdict"], verdict["checks"]) == ("no verdict", [])
    assert "too few" in verdict["reason"]


def test_locust_by_hand_stops_at_once_if_the_server_refuses_the_key(server: Server) -> None:
    wrong = {"LOADTEST_URL": server.url, "LOADTEST_KEY": "imc_wrong"}
    done = by_hand(PROJECT, "-f", "loadtests/locustfile.py", "--run-time", "1h", "--only-summary", **wrong)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    assert "401" in line
    assert "Traceback" not in done.stderr


def test_a_key_that_fits_no_header_is_refused_without_showing_it(tmp_path: Path) -> None:
    done = by_hand(PROJECT, "-f", "loadtests/locustfile.py", LOADTEST_KEY="imc_secret…", LOADTEST_RESULTS=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["ERROR: LOADTEST_KEY: this is no API key: it has characters that no key has."]
    # As a file or a browser gives it.
    assert LoadSettings(key=SecretStr(" imc_it\n")).key_of("steady") == "imc_it"


def test_a_run_is_not_shared_out_since_each_process_would_judge_its_part_as_all(server: Server, tmp_path: Path) -> None:
    told = {"LOADTEST_KEY": "imc_it", "LOADTEST_URL": server.url, "LOADTEST_RESULTS": str(tmp_path)}
    done = by_hand(PROJECT, "-f", "loadtests/locustfile.py", "--run-time", "1", "--processes", "2", **told)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "ERROR: leave out --processes" in done.stderr
    assert not list(tmp_path.iterdir())


def test_another_server_is_told_in_one_line_and_no_earlier_verdict_stays(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text('{"verdict": "passed"}')
    with HTTPServer(("127.0.0.1", 0), _Website) as website:
        Thread(target=website.serve_forever, daemon=True).start()
        told = {"LOADTEST_KEY": "imc_it", "LOADTEST_RESULTS": str(tmp_path)}
        host = f"http://127.0.0.1:{website.server_port}/"
        done = by_hand(PROJECT, "-f", "loadtests/locustfile.py", "--run-time", "1h", "--host", host, **told)
        website.shutdown()
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"ERROR: no verdict: {host}v2/limits answers 'steady' with 200: <h1>Welcome</h1>" in done.stderr
    assert "Traceback" not in done.stderr
    assert written(tmp_path)["verdict"] == "no verdict"
    assert "Welcome" in written(tmp_path)["reason"]


def test_a_run_that_is_ended_judges_what_it_saw_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    run = started(server, tmp_path, "steady", "ended", LOADTEST_SECONDS="3600")
    # The caller's own requests would be in the usage log that is judged.
    wait_until(
        lambda: json.loads(server.auth("usage", "ended@example.org", "--json").stdout)["total"]["requests"],
        "the load has begun",
    )
    run.terminate()
    # Its end comes only once Locust, which writes to the same pipe, has ended.
    done = ended(run)
    assert done.returncode == 128 + signal.SIGTERM, done.stdout + done.stderr
    assert "limits and usage log: all adds up" in done.stdout
    assert "Traceback" not in done.stderr
