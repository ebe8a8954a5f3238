"""The rate of a closed loop, which benchmarks and the test of overload measure: that of a server under full load."""

import pytest

from testing.http_load import Sample, rate


def closed_loop(callers: int, per_s: float, seconds: float, begins_s: float = 0.0) -> list[Sample]:
    """Callers of a server that answers one request after the other."""
    samples, free_s, waiting = [], begins_s, [0.0] * callers
    while waiting:
        due = waiting.pop(0)
        free_s = max(free_s, due) + 1 / per_s
        samples.append(Sample(due, free_s, 200))
        if free_s < seconds:
            waiting.append(free_s)
    return samples


@pytest.mark.parametrize("callers", [1, 8, 64])
def test_the_time_without_all_callers_does_not_count(callers: int) -> None:
    assert rate(closed_loop(callers, per_s=100, seconds=4, begins_s=0.2)) == pytest.approx(100, rel=0.01)


def test_answers_other_than_200_do_not_count() -> None:
    samples = closed_loop(8, per_s=100, seconds=4)
    half = [Sample(one.due, one.answered, 200 if number % 2 else 503) for number, one in enumerate(samples)]
    assert rate(half) == pytest.approx(50, rel=0.02)


def test_a_server_slower_than_the_measurement_has_a_rate() -> None:
    samples = [Sample(0.001 * number, 5.0, 200) for number in range(64)]
    assert rate(samples) == pytest.approx(64 / 5)
    assert rate([Sample(0.0, 1.0, 503), Sample(0.1, 1.0, None)]) == 0
