"""Load tests: one that passes, one of a slow server that fails, and what else makes them fail."""

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from loadtests.settings import LoadSettings
from testing.servers import PROJECT, Server
from tests.loadtest_files import BOUNDS, written


@dataclass(frozen=True)
class Run:
    """A load test that has ended, and the folder of its results."""

    done: subprocess.CompletedProcess[str]
    folder: Path


def started(server: Server, folder: Path, mix: str, user: str, **settings: str) -> subprocess.Popen[str]:
    """A few seconds of `python -m loadtests`, by users of its own."""
    (folder / "slo.toml").write_text(BOUNDS.format(most_ms=400, ratio=100))
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
            "slowed": started(slowed, folders["slowed"], "steady", "load"),
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
    assert check["measured"] > check["bound"] == 400
    assert not check["holds"]


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
