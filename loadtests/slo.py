"""The bounds of a run, read from a small file, and the verdict by them, line by line."""

import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from loadtests.neighbours import p99_ratio
from loadtests.record import Outcome, Sample, percentile

PERCENTILES = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}


class Latency(BaseModel):
    """The most that percentiles may be, in ms; None: not judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


class Slo(BaseModel):
    """The bounds of one mix; `slo.toml` says what each means. `latency` is by the name of the kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fewest_samples: int
    failed_share: float
    shed_share: float
    lag_p99_ms: float
    neighbour_ratio: float
    latency: dict[str, Latency]


@dataclass(frozen=True)
class Check:
    """One bound and what was measured."""

    what: str
    measured: float
    bound: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether it does; what could not be measured does not."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def __str__(self) -> str:
        side, verdict = "at least" if self.at_least else "at most", "holds" if self.holds else "MISSED"
        return f"{self.what:<28} {self.measured:10.4g}   {side} {self.bound:<8g} {verdict}"


def read_slo(path: Path, mix: str) -> Slo:
    """The bounds of that mix: the file's `default`, and over it what it says of the mix. A wrong file ends the run."""
    try:
        tables = tomllib.loads(path.read_text())
        return Slo.model_validate(_merged(tables["default"], tables.get(mix, {})))
    except (OSError, KeyError, tomllib.TOMLDecodeError, ValidationError) as error:
        sys.exit(f"ERROR: {path} can't be used: {error}")


def judge_knee(samples: Sequence[Sample], slo: Slo) -> list[Check]:
    """What must hold where only the knee is looked for."""
    return [_failed(samples, slo)]


def judge(samples: Sequence[Sample], began: float, slo: Slo, has_neighbour: bool = False) -> list[Check]:
    """Each bound and what was measured.

    Args:
        samples: of the whole run.
        began: when it began, monotonic seconds.
        slo: the bounds.
        has_neighbour: whether a noisy neighbour was there to compare with.
    """
    number = max(1, len(samples))
    shed = sum(sample.outcome is Outcome.SHED for sample in samples)
    lines = [
        Check("requests", len(samples), slo.fewest_samples, at_least=True),
        _failed(samples, slo),
        Check("shed (503), share", shed / number, slo.shed_share),
        Check("generator's lag p99, ms", percentile((sample.lag_ms for sample in samples), 0.99), slo.lag_p99_ms),
    ]
    if has_neighbour:
        lines.append(Check("p99 by p99 without neighbour", p99_ratio(samples, began), slo.neighbour_ratio))
    return [*lines, *_latency_lines(samples, slo)]


def _failed(samples: Sequence[Sample], slo: Slo) -> Check:
    failed = sum(sample.outcome is Outcome.FAILED for sample in samples)
    return Check("failed, share", failed / max(1, len(samples)), slo.failed_share)


def _latency_lines(samples: Sequence[Sample], slo: Slo) -> Iterator[Check]:
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
    """How many requests came to which end, in words."""
    ends = {end: sum(sample.outcome is end for sample in samples) for end in Outcome}
    return ", ".join(f"{number} {end}" for end, number in ends.items() if number or end is Outcome.EXPECTED)
