"""The check at the end: no user was admitted more often than its limit allows, and the usage log has a row per answer.

It goes by what callers saw and what the server tells each of them, so that it holds on a server of any owner.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from loadtests.kinds import KINDS
from loadtests.record import Sample

# Asks the server as that caller, for that path, and gives the JSON that it answers.
Ask = Callable[[str, str], Any]
PATHS = sorted({kind.path for kind in KINDS.values()})
IMAGES = "images"


class Audit:
    """Holds a run against limits and usage log.

    Args:
        ask: how the server is asked.
        who: the callers that have keys, by name.
        rows: counts the rows of the whole usage log, where that can be done.
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
        """What doesn't add up, in words, now that all was answered; empty where all does."""
        # Counted before asking, which makes rows of its own.
        found = usage_log_size(samples, self._rows() - self._rows_before) if self._rows else []
        for one in self._who:
            mine = [sample for sample in samples if sample.who == one]
            rows = self._rows_of(one)
            rows.subtract(self._before[one])
            of_limits = (exceeded_limit(mine, quota, window_s) for quota, window_s in self._limits[one])
            found += [f"{one}: {what}" for what in (*filter(None, of_limits), *missing_rows(mine, rows))]
        return found

    def _limits_of(self, who: str) -> list[tuple[int, float]]:
        return [(policy["quota"], policy["window"]) for policy in self._ask(who, "/v2/limits")["policies"]]

    def _rows_of(self, who: str) -> Counter[tuple[str, str]]:
        rows: Counter[tuple[str, str]] = Counter()
        for path in PATHS:
            query = f"/v2/usage?bucket=day&from={self._since}&endpoint={path}"
            for bucket in self._ask(who, query)["data"]:
                rows.update({(path, status): number for status, number in bucket["status"].items()})
                rows[path, IMAGES] += bucket["images"]
        return rows


def exceeded_limit(samples: Iterable[Sample], quota: int, window_s: float) -> str | None:
    """A span shorter than the window in which more than the quota was admitted, in words; None where there is none.

    Each request was admitted some time between its sending and its answer, so what is reported is sure.
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
            return f"{hits} images were admitted within {took_s:.3f} s, where {quota} in {window_s:g} s are allowed"
    return None


def missing_rows(samples: Sequence[Sample], rows: Counter[tuple[str, str]]) -> list[str]:
    """Where one user's rows differ from its answers, by path and class of status, such as `("/v1/classify", "2xx")`.

    A request without an answer may have a row. The images of a 503 may have been charged.
    """
    answers = Counter((sample.kind.path, f"{sample.status // 100}xx") for sample in samples if sample.status)
    found = []
    for place, number in sorted(answers.items()):
        if rows[place] < number:
            found.append(
                f"{number} answers of {place[1]} on {place[0]}, and {rows[place]} rows of them in the usage log"
            )
    for path in PATHS:
        mine = [sample for sample in samples if sample.kind.path == path]
        written = sum(number for place, number in rows.items() if place[0] == path and place[1] != IMAGES)
        if written > len(mine):
            found.append(f"{len(mine)} requests of {path}, and {written} rows in the usage log")
        sure, unsure = sum(sample.hits for sample in mine), sum(_may_be_charged(sample) for sample in mine)
        if not sure <= rows[path, IMAGES] <= sure + unsure:
            found.append(f"{sure} images admitted on {path}, and {rows[path, IMAGES]} charged")
    return found


def usage_log_size(samples: Sequence[Sample], rows: int) -> list[str]:
    """Whether the rows that came to the whole usage log are the answers; requests without an answer may have one."""
    answers = sum(sample.status is not None for sample in samples)
    if answers <= rows <= len(samples):
        return []
    return [f"{answers} answers to {len(samples)} requests, and {rows} new rows in the whole usage log"]


def _may_be_charged(sample: Sample) -> int:
    return sample.kind.images if sample.status is None or sample.status >= 500 else 0
