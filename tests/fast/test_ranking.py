"""The order of predictions: the most probable first, of equal ones the lower class number, whatever the model gives."""

import numpy as np
import pytest

from inference.ranking import top_k

NAMES = [f"label {number}" for number in range(1000)]


@pytest.mark.parametrize("k", [1, 5, 16, 17, 999, 1000, 2000])
@pytest.mark.parametrize("different", [1, 3, 1000], ids=["all equal", "many equal", "hardly any equal"])
def test_the_best_come_first_and_equal_ones_by_number(k: int, different: int) -> None:
    chance = np.random.default_rng(k * different)
    probabilities = chance.choice(chance.random(different, dtype=np.float32), 1000)
    order = sorted(range(1000), key=lambda number: (-probabilities[number], number))[:k]
    ranked = top_k(probabilities, NAMES, k)
    assert [one.class_id for one in ranked] == order
    assert [one.label for one in ranked] == [NAMES[number] for number in order]
    assert [one.probability for one in ranked] == [round(float(probabilities[number]), 4) for number in order]


def test_a_model_of_one_label() -> None:
    assert top_k(np.array([0.25], np.float32), ["it"], 5) == [(0, "it", 0.25)]
