"""Load tests: one that passes, one of a slow server that fails, and what else makes them fail."""

import csv
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from loadtests import knee, neighbours
from loadtests.audit import IMAGES, exceeded_limit, missing_rows, usage_log_size
from loadtests.kinds import KINDS
from loadtests.mixes import MIXES
from loadtests.record import Outcome, Sample, outcome
from loadtests.settings import LoadSettings
from loadtests.slo import Check, Slo, judge, read_slo, too_short
from loadtests.verdict import EXIT_CODES, Result, Verdict
from testing.servers import PROJECT, Server

# A healthy server is far below, a slowed one above; how fast it is exactly is judged where it is measured at length.
BOUNDS = """
[default]
fewest_samples = 20
failed_share = 0
shed_share = 0
lag_p99_ms = 500
neighbour_ratio = {ratio}
latency = {{photo = {{p50_ms = {most_ms}}}, upload = {{p50_ms = {most_ms}}}}}
"""


@pytest.fixture
def slowed(tmp_path: Path, model_store: Path) -> Iterator[Server]:
    """A server whose model takes half a second longer."""
    server = Server(tmp_path / "slowed", model_store)
    server.service = "loadtests.slowed:ImageClassifier"
    server.start()
    yield server
    server.end()


def run(server: Server, folder: Path, mix: str = "steady", **settings: str) -> subprocess.CompletedProcess[str]:
    """A few seconds of `python -m loadtests`."""
    (folder / "slo.toml").write_text(BOUNDS.format(most_ms=400, ratio=100))
    told = {
        "LOADTEST_URL": server.url,
        "LOADTEST_KEY": server.create_key("load@example.org", "--limit", "100000/minute")["key"],
        "LOADTEST_NOISY_KEY": server.create_key("noisy@example.org", "--limit", "3/second")["key"],
        "LOADTEST_RATE": "15",
        "LOADTEST_SECONDS": "4",
        "LOADTEST_SLO": str(folder / "slo.toml"),
        "LOADTEST_RESULTS": str(folder / "results"),
        **settings,
    }
    command = [sys.executable, "-m", "loadtests", mix]
    environment = {**os.environ, **told}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.alone
def test_a_healthy_server_passes_and_the_run_is_on_paper(server: Server, tmp_path: Path) -> None:
    done = run(server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "photo p50" in done.stdout
    [report] = tmp_path.glob("results/*/steady/report.html")
    assert "/v1/classify (photo)" in report.read_text()
    [requests] = tmp_path.glob("results/*/steady/stats_stats.csv")
    assert "/v1/classify (photo)" in requests.read_text()
    assert written(report.parent)["verdict"] == "passed"


@pytest.mark.alone
def test_a_neighbours_refusals_are_expected_and_counted_apart(server: Server, tmp_path: Path) -> None:
    done = run(server, tmp_path, "noisy", LOADTEST_SECONDS="8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all adds up" in done.stdout
    [requests] = tmp_path.glob("results/*/noisy/stats_stats.csv")
    numbers = {row["Name"]: int(row["Request Count"]) for row in csv.DictReader(requests.read_text().splitlines())}
    assert numbers["429 /v1/classify (noisy)"] > numbers["/v1/classify (noisy)"] > 0


def test_a_key_that_the_server_does_not_know_is_told_at_once(server: Server, tmp_path: Path) -> None:
    done = run(server, tmp_path, LOADTEST_KEY="imc_wrong")
    assert done.returncode == 2
    assert "answers 401 to LOADTEST_KEY" in done.stderr


@pytest.mark.alone
def test_a_slowed_server_fails_and_the_bound_is_named(slowed: Server, tmp_path: Path) -> None:
    done = run(slowed, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if "photo p50" in line]
    assert line.endswith("MISSED")
    [folder] = tmp_path.glob("results/*/steady")
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


def written(folder: Path) -> dict[str, Any]:
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return verdict


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


def sample(at: float = 0.0, took: float = 0.01, status: int = 200, kind: str = "photo", lag: float = 0.0) -> Sample:
    """A steady caller's request that was due at that second."""
    meant = outcome(KINDS[kind], "steady", status, None, KINDS[kind].expected_text)
    return Sample("steady", KINDS[kind], at, at + lag, at + took, status, meant)


@pytest.fixture
def slo(tmp_path: Path) -> Slo:
    (tmp_path / "slo.toml").write_text(BOUNDS.format(most_ms=400, ratio=1.5) + "[spike]\nshed_share = 0.5")
    return read_slo(tmp_path / "slo.toml", "steady")


def missed(samples: list[Sample], slo: Slo, has_neighbour: bool = False) -> list[str]:
    return [line.what for line in judge(samples, 0.0, slo, has_neighbour) if not line.holds]


def test_what_is_as_it_should_be_misses_nothing(slo: Slo) -> None:
    assert missed([sample(number) for number in range(100)], slo) == []


def test_a_generator_that_lags_fails_the_run_though_the_server_is_quick(slo: Slo) -> None:
    late = [sample(number, took=0.6, lag=0.59 if number % 50 == 0 else 0) for number in range(100)]
    assert "generator's lag p99, ms" in missed(late, slo)


def test_few_samples_prove_nothing(slo: Slo) -> None:
    assert too_short([sample()] * 20, slo) is None
    assert "19 requests are too few" in str(too_short([sample()] * 19, slo))


@pytest.mark.parametrize(
    ("measured", "mistakes", "reason", "result"),
    [
        (1.0, [], None, Result.PASSED),
        (3.0, [], None, Result.FAILED),
        (math.nan, [], None, Result.FAILED),
        (1.0, ["a row is missing"], None, Result.FAILED),
        (3.0, [], "too few", Result.NONE),
        # A mistake is certain, however few requests there were.
        (1.0, ["a row is missing"], "too few", Result.FAILED),
    ],
)
def test_the_verdict_and_its_file(
    tmp_path: Path, measured: float, mistakes: list[str], reason: str | None, result: Result
) -> None:
    verdict = Verdict("steady", "9 expected", [Check("photo p50, ms", measured, 2.0)], mistakes, reason)
    assert verdict.result is result
    verdict.write(tmp_path)
    assert written(tmp_path)["verdict"] == result
    assert ("MISSED" in str(verdict)) == (reason is None and not measured <= 2)
    assert EXIT_CODES[result] == {"passed": 0, "failed": 1, "no verdict": 2}[result]


def test_one_wrong_answer_fails_the_run(slo: Slo) -> None:
    well = [sample(number) for number in range(100)]
    for wrong in (sample(status=500), sample(status=429), sample(status=503), sample(kind="bad", status=200)):
        assert missed([*well, wrong], slo) == ["failed, share"]


def test_a_mix_may_have_bounds_of_its_own(slo: Slo, tmp_path: Path) -> None:
    assert slo.shed_share == 0
    spike = read_slo(tmp_path / "slo.toml", "spike")
    assert spike.shed_share == 0.5
    assert spike.latency == slo.latency


def test_every_mix_has_bounds_in_the_file_that_ships() -> None:
    for mix in MIXES:
        assert read_slo(PROJECT / "loadtests" / "slo.toml", mix).latency


@pytest.mark.parametrize(
    ("who", "status", "retry_after", "meant"),
    [
        ("noisy", 429, "1", Outcome.LIMITED),
        ("noisy", 429, None, Outcome.FAILED),
        ("steady", 429, "1", Outcome.FAILED),
        ("steady", 503, "1", Outcome.SHED),
        ("steady", 503, None, Outcome.FAILED),
        ("steady", None, None, Outcome.FAILED),
    ],
)
def test_expected_refusals_are_told_from_others(
    who: str, status: int | None, retry_after: str | None, meant: Outcome
) -> None:
    assert outcome(KINDS["photo"], who, status, retry_after, b"{}") is meant


def test_an_answer_of_200_that_says_nothing_is_wrong() -> None:
    assert outcome(KINDS["photo"], "steady", 200, None, b"<html>") is Outcome.FAILED


def test_one_more_than_the_limit_is_found() -> None:
    three = [sample(at) for at in (0.0, 0.2, 0.4)]
    assert exceeded_limit(three, 3, 1.0) is None
    assert exceeded_limit([*three, sample(1.1)], 3, 1.0) is None
    found = exceeded_limit([*three, sample(0.9)], 3, 1.0)
    assert found is not None
    assert "4 images" in found


def test_what_may_have_been_admitted_later_is_no_mistake() -> None:
    assert exceeded_limit([sample(0.0, took=0.1), sample(0.2, took=1.0)], 1, 1.0) is None


def test_a_batch_counts_by_its_images() -> None:
    batches = [sample(at, kind="batch") for at in (0.0, 0.1)]
    assert exceeded_limit(batches, 8, 1.0) is None
    assert exceeded_limit(batches, 7, 1.0) is not None


def test_a_missing_row_a_spare_one_and_a_wrong_charge_are_found() -> None:
    asked = [sample(), sample(1), sample(2, kind="bad", status=400), sample(3, kind="limits")]
    classify = "/v1/classify"
    rows = Counter({(classify, "2xx"): 2, (classify, "4xx"): 1, (classify, IMAGES): 3, ("/v2/limits", "2xx"): 1})
    assert missing_rows(asked, rows) == []
    for place, by in (
        ((classify, "2xx"), -1),
        ((classify, "5xx"), 1),
        ((classify, IMAGES), 1),
        ((classify, IMAGES), -1),
    ):
        assert len(missing_rows(asked, rows + Counter({place: by}) if by > 0 else rows - Counter({place: 1}))) == 1
    assert usage_log_size(asked, 4) == []
    assert usage_log_size(asked, 3) != []
    assert usage_log_size(asked, 5) != []


def test_the_neighbour_is_judged_by_what_steady_callers_saw_in_both_spells(slo: Slo) -> None:
    def spells(noisy_took: float) -> list[Sample]:
        times = [number / 10 for number in range(200)]
        return [sample(at, took=noisy_took if neighbours.is_noisy(at) else 0.1) for at in times]

    assert missed(spells(0.14), slo, has_neighbour=True) == []
    assert missed(spells(0.16), slo, has_neighbour=True) == ["p99, with ÷ without neighbour"]
    assert "p99, with ÷ without neighbour" in missed([sample(1.5)] * 100, slo, has_neighbour=True)


def test_the_knee_is_where_more_callers_bring_no_more() -> None:
    assert not knee.is_past([50])
    assert not knee.is_past([50, 90, 120])
    assert not knee.is_past([50, 51, 120, 122])
    assert knee.is_past([50, 90, 120, 122, 119])
    assert knee.knee([50, 90, 120, 122, 119]) == 120
    assert knee.rate_at([0.5, 1.5, 2.5, 3.5, 4.5], 1, 4) == 1
