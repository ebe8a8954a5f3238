"""The record of a run: what callers saw, request by request. All checks of a run use it."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from loadtests.kinds import Kind

# A request with one of these answers was admitted, and cost hits.
_ADMITTED = (200, 400)


class Outcome(StrEnum):
    """The result of a request."""

    EXPECTED = "expected"
    LIMITED = "limited"  # a 429 of the noisy neighbour, which is expected
    SHED = "shed"  # 503 with Retry-After
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Times are monotonic seconds; `status` is None without an answer.

    Attributes:
        who: "steady" or "noisy"; each has its own key.
        kind: what was sent.
        due: when it should have been sent.
        began: when it was sent.
        answered: when its answer was complete, or the caller gave up.
        status: the status of the answer.
        outcome: the result.
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
        """The latency: from the time it was due to its answer, ms."""
        return (self.answered - self.due) * 1000

    @property
    def lag_ms(self) -> float:
        """How late the generator sent it, ms."""
        return (self.began - self.due) * 1000

    @property
    def hits(self) -> int:
        """The hits that it has certainly cost."""
        return self.kind.images if self.status in _ADMITTED else 0


def outcome(kind: Kind, who: str, status: int | None, retry_after: str | None, body: bytes) -> Outcome:
    """Return the result of a request of that caller, given the answer's status, `Retry-After` and body."""
    if status == kind.status and kind.expected_text in body:
        return Outcome.EXPECTED
    if status == 429 and who == "noisy" and retry_after:
        return Outcome.LIMITED
    if status == 503 and retry_after:
        return Outcome.SHED
    return Outcome.FAILED


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that the share (0 to 1) of all values does not exceed; NaN without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass
class Record:
    """The samples of a run, and when it began, monotonic seconds."""

    samples: list[Sample] = field(default_factory=list)
    began: float = 0.0

    def start(self) -> None:
        """Begin a run: delete the samples of the one before."""
        self.samples = []
        self.began = time.monotonic()


record = Record()
