"""Checks limits and usage log after a run: no user exceeded a limit, and the usage log has a row for each answer.

It uses only what callers saw and what the server's routes tell each caller, so it works with any server.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from loadtests.kinds import KINDS
from loadtests.record import Sample

# Sends a GET as a caller (by name) for a path, and returns the list in a field of the answer.
Ask = Callable[[str, str, str], list[Any]]
PATHS = sorted({kind.path for kind in KINDS.values()})
IMAGES = "images"


class Audit:
    """Compares a run with limits and usage log. Create it before the run: it reads both at once.

    Args:
        ask: sends a GET to the server.
        who: the names of the callers that have keys.
        rows: counts the rows of the whole usage log; None if that is not possible.
    """

    def __init__(self, ask: Ask, who: Sequence[str], rows: Callable[[], int] | None = None) -> None:
        self._ask = ask
        self._who = who
        self._rows = rows
        self._since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._limits = {one: self._limits_of(one) for one in who}
        self._before = {one: self._rows_of(one) for one in who}
        self._rows_before = rows() if rows else 0

    def mistakes(self, samples: Sequence[Sample]) -> list[str]:
        """Return a sentence for each mistake; call it once all requests were answered."""
        # Counted first, since the requests below add rows too.
        found = usage_log_size(samples, self._rows() - self._rows_before) if self._rows else []
        for one in self._who:
            mine = [sample for sample in samples if sample.who == one]
            rows = self._rows_of(one)
            rows.subtract(self._before[one])
            of_limits = (exceeded_limit(mine, quota, window_s) for quota, window_s in self._limits[one])
            found += [f"{one}: {what}" for what in (*filter(None, of_limits), *missing_rows(mine, rows))]
        return found

    def _limits_of(self, who: str) -> list[tuple[int, float]]:
        return [(policy["quota"], policy["window"]) for policy in self._ask(who, "/v2/limits", "policies")]

    def _rows_of(self, who: str) -> Counter[tuple[str, str]]:
        rows: Counter[tuple[str, str]] = Counter()
        for path in PATHS:
            query = f"/v2/usage?bucket=day&from={self._since}&endpoint={path}"
            for bucket in self._ask(who, query, "data"):
                rows.update({(path, status): number for status, number in bucket["status"].items()})
                rows[path, IMAGES] += bucket["images"]
        return rows


def exceeded_limit(samples: Iterable[Sample], quota: int, window_s: float) -> str | None:
    """Find a time shorter than the window in which more images than the quota were admitted.

    Each request was admitted at some time between its sending and its answer, so what is reported is certain.

    Args:
        samples: the requests of one user.
        quota: the most images in a window.
        window_s: the length of the window, seconds.

    Returns:
        A sentence; None if the limit was kept.
    """
    admitted = sorted((sample for sample in samples if sample.hits), key=lambda sample: sample.answered)
    first, hits = 0, 0
    for last, sample in enumerate(admitted):
        hits += sample.hits
        while hits - admitted[first].hits > quota:
            hits -= admitted[first].hits
            first += 1
        if hits <= quota:
            continue
        took_s = sample.answered - min(one.began for one in admitted[first : last + 1])
        if took_s < window_s:
            return f"{hits} images were admitted within {took_s:.3f} s; the limit is {quota} in {window_s:g} s"
    return None


def missing_rows(samples: Sequence[Sample], rows: Counter[tuple[str, str]]) -> list[str]:
    """Compare the usage rows of one user with its answers.

    A request without an answer may have a row. The images of a 503 may have been charged.

    Args:
        samples: the requests of the user.
        rows: the number of rows by path and class of status, such as `("/v1/classify", "2xx")`, and the number of
            charged images by path and `IMAGES`.

    Returns:
        A sentence for each difference.
    """
    answers = Counter((sample.kind.path, f"{sample.status // 100}xx") for sample in samples if sample.status)
    found = []
    for place, number in sorted(answers.items()):
        if rows[place] < number:
            found.append(
                f"{number} answers of {place[1]} on {place[0]}, but {rows[place]} rows for them in the usage log"
            )
    for path in PATHS:
        mine = [sample for sample in samples if sample.kind.path == path]
        written = sum(number for place, number in rows.items() if place[0] == path and place[1] != IMAGES)
        if written > len(mine):
            found.append(f"{len(mine)} requests of {path}, but {written} rows in the usage log")
        certain, possible = sum(sample.hits for sample in mine), sum(_may_be_charged(sample) for sample in mine)
        if not certain <= rows[path, IMAGES] <= certain + possible:
            found.append(f"{certain} images admitted on {path}, but {rows[path, IMAGES]} charged")
    return found


def usage_log_size(samples: Sequence[Sample], rows: int) -> list[str]:
    """Compare the number of answers with the number of new rows in the whole usage log.

    A request without an answer may have a row.

    Returns:
        One sentence if they differ, else none.
    """
    answers = sum(sample.status is not None for sample in samples)
    if answers <= rows <= len(samples):
        return []
    return [f"{answers} answers to {len(samples)} requests, but {rows} new rows in the whole usage log"]


def _may_be_charged(sample: Sample) -> int:
    return sample.kind.images if sample.status is None or sample.status >= 500 else 0
