"""The verdict on a run: passed, failed, or none if too few requests were sent. It is printed and written to a file."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from loadtests.slo import Check

FILE = "verdict.json"


class Result(StrEnum):
    """What a run showed."""

    PASSED = "passed"
    FAILED = "failed"
    NONE = "no verdict"


# The exit code of Locust; 2 means that nothing could be judged.
EXIT_CODES = {Result.PASSED: 0, Result.FAILED: 1, Result.NONE: 2}


@dataclass(frozen=True)
class Verdict:
    """The verdict on one run.

    Attributes:
        mix: the mix that ran.
        requests: one line with the number of requests of each result.
        checks: each SLO, with what was measured.
        mistakes: a sentence for each mistake in limits or usage log.
        too_short: why the SLOs can't be judged; None if they can.
    """

    mix: str
    requests: str
    checks: Sequence[Check]
    mistakes: Sequence[str]
    too_short: str | None = None

    @property
    def result(self) -> Result:
        """The result. A mistake in limits or usage log is certain, however short the run was."""
        if self.mistakes:
            return Result.FAILED
        if self.too_short is not None:
            return Result.NONE
        return Result.PASSED if all(check.holds for check in self.checks) else Result.FAILED

    def __str__(self) -> str:
        judged = [f"no verdict: {self.too_short}"] if self.too_short else map(str, self.checks)
        audited = f"limits and usage log: {'; '.join(self.mistakes) or 'all adds up'}"
        return "\n  ".join([f"{self.mix}: {self.requests}", *judged, audited])

    def write(self, folder: Path) -> Path:
        """Write the verdict to a JSON file in the folder, in place of an earlier one; return its path.

        A value that could not be measured is `null`.
        """
        checks = [
            {**asdict(check), "measured": None if math.isnan(check.measured) else check.measured, "holds": check.holds}
            for check in self.checks
        ]
        written = {
            "mix": self.mix,
            "verdict": self.result,
            "reason": self.too_short,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "requests": self.requests,
            "checks": checks if self.too_short is None else [],
            "mistakes": list(self.mistakes),
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")
        return path
