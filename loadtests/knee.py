"""The knee: where more callers no longer get more answers."""

import json
from collections.abc import Sequence
from pathlib import Path

STEPS = (1, 2, 4, 8, 16, 32, 64)
STEP_S = 4.0
SETTLE_S = 1.0
MIN_GROWTH = 1.05
FILE = "knee.json"


def is_past(rates: Sequence[float]) -> bool:
    """Whether the last two steps brought too little more than the best before; one alone may be a bad moment."""
    return len(rates) > 2 and max(rates[-2:]) < MIN_GROWTH * max(rates[:-2])


def knee(rates: Sequence[float]) -> float:
    """What the fewest callers carry beyond whom no number of them carries that much more, answers a second."""
    return next(rate for rate in rates if max(rates) < MIN_GROWTH * rate)


def rate_at(answered: Sequence[float], from_s: float, to_s: float) -> float:
    """Answers a second in that span; times in seconds."""
    return sum(from_s <= at < to_s for at in answered) / (to_s - from_s)


def write(folder: Path, rates: Sequence[float]) -> None:
    """Keep what the steps have carried, answers a second."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = dict(zip(map(str, STEPS), rates, strict=False))
    (folder / FILE).write_text(json.dumps({"knee": knee(rates), "callers": steps}))


def read(folder: Path) -> float:
    """The knee that a run before has found, requests a second."""
    return float(json.loads((folder / FILE).read_text())["knee"])
