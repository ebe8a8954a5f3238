"""Reads the SLOs (service level objectives) of a run from a file, and checks the run against each of them."""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from loadtests.neighbours import p99_ratio
from loadtests.record import Outcome, Sample, percentile
from loadtests.settings import stop

PERCENTILES = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}


class Latency(BaseModel):
    """The largest allowed percentiles, ms; None: not checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


class Slo(BaseModel):
    """The SLOs of one mix; `slo.toml` says what each means. The keys of `latency` are names of kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fewest_samples: int
    failed_share: float
    shed_share: float
    lag_p99_ms: float
    neighbour_ratio: float
    latency: dict[str, Latency]


@dataclass(frozen=True)
class Check:
    """One SLO and what was measured.

    Attributes:
        what: what was measured.
        measured: the measured value; NaN if it could not be measured.
        bound: the largest allowed value.
    """

    what: str
    measured: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the SLO is met; it is not if the value could not be measured."""
        return self.measured <= self.bound

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "MISSED"
        return f"{self.what:<30} {self.measured:10.4g}   at most {self.bound:<8g} {verdict}"


def read_slo(path: Path, mix: str) -> Slo:
    """Read the SLOs of a mix: the table `default`, overridden by the table of the mix. A wrong file ends the run."""
    try:
        tables = tomllib.loads(path.read_text())
        return Slo.model_validate(_merged(tables["default"], tables.get(mix, {})))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        stop(f"{path} can't be used: {'.'.join(map(str, first['loc']))}: {first['msg']}.")
    except (KeyError, TypeError, AttributeError):
        stop(f"{path} can't be used: it needs a table [default]; [{mix}], if it is there, must be a table too.")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        stop(f"{path} can't be used: {error}")


def too_short(samples: Sequence[Sample], slo: Slo) -> str | None:
    """Return why the SLOs can't be judged, as a sentence; None if there are samples enough."""
    if len(samples) >= slo.fewest_samples:
        return None
    return f"{len(samples)} requests are too few to judge; send at least {slo.fewest_samples}, faster or for longer."


def judge_knee(samples: Sequence[Sample], slo: Slo) -> list[Check]:
    """Check the SLOs of a run that only finds the knee."""
    return [_failed(samples, slo)]


def judge(samples: Sequence[Sample], began: float, slo: Slo, has_neighbour: bool = False) -> list[Check]:
    """Check every SLO of a run that was not too short.

    Args:
        samples: the requests of the whole run.
        began: when the run began, monotonic seconds.
        slo: the SLOs.
        has_neighbour: whether a noisy neighbour ran, so that its effect is checked.
    """
    number = max(1, len(samples))
    shed = sum(sample.outcome is Outcome.SHED for sample in samples)
    checks = [
        _failed(samples, slo),
        Check("shed (503), share", shed / number, slo.shed_share),
        Check("generator's lag p99, ms", percentile((sample.lag_ms for sample in samples), 0.99), slo.lag_p99_ms),
    ]
    if has_neighbour:
        checks.append(Check("p99, with ÷ without neighbour", p99_ratio(samples, began), slo.neighbour_ratio))
    return [*checks, *_latency_checks(samples, slo)]


def _failed(samples: Sequence[Sample], slo: Slo) -> Check:
    failed = sum(sample.outcome is Outcome.FAILED for sample in samples)
    return Check("failed, share", failed / max(1, len(samples)), slo.failed_share)


def _latency_checks(samples: Sequence[Sample], slo: Slo) -> Iterator[Check]:
    accepted: dict[str, list[float]] = {}
    for sample in samples:
        if sample.who == "steady" and sample.outcome is Outcome.EXPECTED:
            accepted.setdefault(sample.kind.name, []).append(sample.ms)
    sent = {sample.kind.name for sample in samples if sample.who == "steady"}
    for kind in (kind for kind in slo.latency if kind in sent):
        for name, bound in slo.latency[kind]:
            if bound is not None:
                yield Check(f"{kind} {name[:3]}, ms", percentile(accepted.get(kind, ()), PERCENTILES[name]), bound)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    nested = {name: _merged(below.get(name, {}), value) for name, value in above.items() if isinstance(value, dict)}
    return {**below, **above, **nested}


def summary(samples: Sequence[Sample]) -> str:
    """Return one line with the number of requests of each result."""
    numbers = {result: sum(sample.outcome is result for sample in samples) for result in Outcome}
    return ", ".join(f"{number} {result}" for result, number in numbers.items() if number or result is Outcome.EXPECTED)
