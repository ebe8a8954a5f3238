"""The mixes: which callers run together, which share of the knee they send, and how that changes over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Mix:
    """A mix of callers.

    Attributes:
        sends: the kinds of requests, and the weight of each.
        share: the rate of requests, as a share of the knee of such requests.
        shape: the load over time; see `shapes.py`.
        extra_callers: further callers, in a fixed number; see `users.py`.
    """

    sends: Mapping[str, int]
    share: float = 0.7
    shape: Literal["level", "soak", "spike"] = "level"
    extra_callers: Literal["noisy", "stampede"] | None = None


_PHOTOS = {"photo": 1}
# As on a usual day: mostly photographs, and some of everything.
_EVERYTHING = {"photo": 60, "upload": 20, "large": 4, "batch": 3, "bad": 3, "limits": 4, "usage": 3, "models": 3}

MIXES = {
    "steady": Mix(_EVERYTHING),
    "noisy": Mix(_PHOTOS, 0.4, extra_callers="noisy"),
    "bad": Mix({"bad": 1, "photo": 2}),
    "large": Mix({"large": 1, "upload": 3}),
    "stampede": Mix(_PHOTOS, 0.3, extra_callers="stampede"),
    "spike": Mix(_PHOTOS, 0.3, "spike"),
    "soak": Mix(_EVERYTHING, 0.7, "soak"),
    # One route only.
    "photos": Mix(_PHOTOS),
    "uploads": Mix({"upload": 1}),
    "batches": Mix({"batch": 1}),
    "reads": Mix({"limits": 1, "usage": 1, "models": 1}),
}
