"""What callers saw, request by request: the one account by which a run is judged."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from loadtests.kinds import Kind

# What was answered so had passed the limit, and cost a hit.
_ADMITTED = (200, 400)


class Outcome(StrEnum):
    """What became of a request."""

    EXPECTED = "expected"
    LIMITED = "limited"  # the noisy neighbour's 429: as it should be
    SHED = "shed"  # 503 with Retry-After
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Times are monotonic seconds; `status` is None where no answer came.

    Attributes:
        who: "steady" or "noisy"; each has a key of its own.
        kind: what was sent.
        due: when it was to be sent.
        began: when it was.
        answered: when its answer was whole, or given up.
        status: of the answer.
        outcome: what that means.
    """

    who: str
    kind: Kind
    due: float
    began: float
    answered: float
    status: int | None
    outcome: Outcome

    @property
    def ms(self) -> float:
        """From the time it was due to its answer, in milliseconds."""
        return (self.answered - self.due) * 1000

    @property
    def lag_ms(self) -> float:
        """How late it was sent, in milliseconds: the generator's own fault."""
        return (self.began - self.due) * 1000

    @property
    def hits(self) -> int:
        """What it has surely cost its user's limit."""
        return self.kind.images if self.status in _ADMITTED else 0


def outcome(kind: Kind, who: str, status: int | None, retry_after: str | None, body: bytes) -> Outcome:
    """What an answer means to that caller."""
    if status == kind.status and kind.expected_text in body:
        return Outcome.EXPECTED
    if status == 429 and who == "noisy" and retry_after:
        return Outcome.LIMITED
    if status == 503 and retry_after:
        return Outcome.SHED
    return Outcome.FAILED


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass
class Record:
    """The samples of a run, and since when it runs, monotonic seconds."""

    samples: list[Sample] = field(default_factory=list)
    began: float = 0.0

    def start(self) -> None:
        """Forget the run before."""
        self.samples = []
        self.began = time.monotonic()


record = Record()
