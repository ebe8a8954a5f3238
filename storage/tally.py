"""Sums over requests, with percentiles of their response times. Only values: `rollup.py` reads and writes them.

Response times are counted in logarithmic bins, each 5 % wider than the one before. A percentile computed from the bins
is within 2.5 % of the true one. Source: Masson, Rim, Lee, "DDSketch", VLDB 2019.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# Upper bound of a bin, divided by that of the bin before.
GAMMA = 1.05
FIRST_BIN, LAST_BIN = -95, 330  # from about 0.01 ms to three hours


@dataclass(slots=True)
class Tally:
    """Sums over requests.

    Attributes:
        requests: the number of requests.
        images: the number of images in admitted classifications.
        billable: the number of images that were answered with predictions; None: unknown, since all requests were
            logged before this was counted.
        cost_nanos: what they cost, billionths of the unit of the user's currency.
        total_ms: the sum of the response times, milliseconds.
        statuses: the number of requests by HTTP status.
        bins: the number of requests by bin of the response time (see `bin_of`).
    """

    requests: int = 0
    images: int = 0
    total_ms: float = 0.0
    billable: int | None = None
    cost_nanos: int = 0
    statuses: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    bins: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, row: Sequence[Any]) -> None:
        """Add a row of the roll-up: status, bin, and the sums."""
        status, bin_, requests, images, total_ms, billable, cost_nanos = row
        # PostgreSQL returns sums of integers as Decimal.
        requests = int(requests)
        self.requests += requests
        self.images += int(images)
        self.total_ms += total_ms
        if billable is not None:
            self.billable = (self.billable or 0) + int(billable)
        self.cost_nanos += int(cost_nanos)
        self.statuses[status] += requests
        self.bins[bin_] += requests

    @property
    def mean_ms(self) -> float:
        """The mean response time, milliseconds; 0 without requests."""
        return self.total_ms / self.requests if self.requests else 0.0

    def percentile_ms(self, share: float) -> float:
        """Return a percentile of the response time, milliseconds, within 2.5 %; 0 without requests.

        Args:
            share: the share of requests that took at most the returned time (nearest rank), from 0 to 1.
        """
        rank, seen = math.ceil(share * self.requests), 0
        for bin_ in sorted(self.bins):
            seen += self.bins[bin_]
            if seen >= rank:
                return middle_ms(bin_)
        return 0.0


def bin_of(response_ms: float) -> int:
    """Return the bin that counts a response time."""
    if response_ms <= 0:
        return FIRST_BIN
    return min(LAST_BIN, max(FIRST_BIN, math.ceil(math.log(response_ms, GAMMA))))


def middle_ms(bin_: int) -> float:
    """Return the response time that represents a bin: within 2.5 % of every time in it, milliseconds."""
    return 2 * GAMMA**bin_ / (GAMMA + 1)
