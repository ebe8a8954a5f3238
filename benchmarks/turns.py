"""Measures servers in turns, so that ratios are right on a machine whose speed drifts."""

import statistics
from collections.abc import Mapping, Sequence

from testing.http_load import Request, closed_loop, rate
from testing.servers import Server

CALLERS = 32
WARM_UP_S = 3.0


def in_turns(
    servers: Mapping[str, Server], requests: Sequence[Request], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Measure running servers in a closed loop of 32 callers, in every round, and print each round.

    Args:
        servers: the servers by name.
        requests: what is sent.
        rounds: the number of rounds.
        seconds: the time of each measurement.

    Returns:
        For each server its answers per second in each round.
    """
    keys = {
        name: server.create_key("bench@example.org", "--limit", "100000000/day") for name, server in servers.items()
    }
    for name, server in servers.items():
        closed_loop(server.url, keys[name]["key"], requests, CALLERS, WARM_UP_S)
    rates: dict[str, list[float]] = {name: [] for name in servers}
    for number in range(rounds):
        # The order changes, so that a machine that slows down favours neither.
        for name in list(servers)[:: 1 if number % 2 == 0 else -1]:
            rates[name].append(rate(closed_loop(servers[name].url, keys[name]["key"], requests, CALLERS, seconds)))
        line = ", ".join(f"{name} {of_server[-1]:.1f}/s" for name, of_server in rates.items())
        print(f"round {number + 1}: {line}", flush=True)
    return rates


def median_ratio(rates: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Return the median over the rounds of one server's rate divided by the other's."""
    return statistics.median(mine / theirs for mine, theirs in zip(rates[one], rates[other], strict=True))
