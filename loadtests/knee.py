"""Finds the knee: the highest rate of answers, which more callers do not raise further."""

import json
from collections.abc import Sequence
from pathlib import Path

STEPS = (1, 2, 4, 8, 16, 32, 64)
STEP_S = 4.0
SETTLE_S = 1.0
MIN_GROWTH = 1.05
FILE = "knee.json"


def is_past(rates: Sequence[float]) -> bool:
    """Tell whether the last two steps raised the best rate by less than 5 %. One step alone may have been disturbed."""
    return len(rates) > 2 and max(rates[-2:]) < MIN_GROWTH * max(rates[:-2])


def knee(rates: Sequence[float]) -> float:
    """Return the rate of the first step that is within 5 % of the best, answers/s."""
    return next(rate for rate in rates if max(rates) < MIN_GROWTH * rate)


def rate_at(answered: Sequence[float], from_s: float, to_s: float) -> float:
    """Return the answers per second between two times; all times in seconds."""
    return sum(from_s <= at < to_s for at in answered) / (to_s - from_s)


def write(folder: Path, rates: Sequence[float]) -> None:
    """Save the rates of the steps, answers/s, and the knee."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = dict(zip(map(str, STEPS), rates, strict=False))
    (folder / FILE).write_text(json.dumps({"knee": knee(rates), "callers": steps}))


def read(folder: Path) -> float:
    """Read the knee that an earlier run has saved, requests/s."""
    return float(json.loads((folder / FILE).read_text())["knee"])
