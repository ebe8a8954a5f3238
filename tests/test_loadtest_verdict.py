"""What a load test makes of its requests: which bounds are missed, and whether limits and the usage log add up."""

import math
from collections import Counter
from pathlib import Path

import pytest

from loadtests import knee, neighbours
from loadtests.audit import IMAGES, exceeded_limit, missing_rows, usage_log_size
from loadtests.kinds import KINDS
from loadtests.mixes import MIXES
from loadtests.record import Outcome, Sample, outcome
from loadtests.settings import LoadSettings, load_settings, server_url
from loadtests.slo import Check, Slo, judge, read_slo, too_short
from loadtests.verdict import EXIT_CODES, Result, Verdict
from testing.servers import PROJECT
from tests.loadtest_files import BOUNDS, written


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("default = 3", "it needs a table [default]"),
        ("[steady]\nshed_share = 1", "it needs a table [default]"),
        (BOUNDS.format(most_ms=400, ratio=1.5).replace("p50_ms", "p51_ms"), "latency.photo.p51_ms: Extra inputs"),
        ("default", "Expected '='"),
    ],
)
def test_a_wrong_file_of_bounds_gives_no_verdict_and_says_why_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    path = tmp_path / "slo.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as end:
        read_slo(path, "steady")
    assert end.value.code == EXIT_CODES[Result.NONE]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ERROR: {path} can't be used: ")
    assert said in line


@pytest.mark.parametrize(
    "wrong",
    ["127.0.0.1:3000", "http://it:3000/v2", "http://it:port", "http://it:99999", "http://me:secret@it", "ftp://it"],
)
def test_a_url_that_is_not_of_a_server_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="give only the scheme, host and port") as refused:
        server_url(wrong)
    assert "secret" not in str(refused.value)


def test_a_url_may_end_with_a_slash() -> None:
    assert LoadSettings(url=" https://it:3000/ ").host == "https://it:3000"


@pytest.mark.parametrize(
    ("name", "value"),
    [("RATE", "inf"), ("SECONDS", "inf"), ("MIX", "Steady"), ("URL", "it"), ("RESULTS", "/dev/null/it")],
)
def test_a_wrong_setting_is_named_and_gives_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(f"LOADTEST_{name}", value)
    with pytest.raises(SystemExit) as end:
        load_settings.__wrapped__()
    assert end.value.code == EXIT_CODES[Result.NONE]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ERROR: LOADTEST_{name}: ")
