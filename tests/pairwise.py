"""Chooses combinations of values so that any two values of different axes meet in one of them."""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
# Of so many rows that are tried for a pair, the one that brings the most others along is taken.
_TRIES = 10


def pairwise(axes: Mapping[str, Sequence[Any]], is_allowed: Callable[[Row], bool] = lambda _: True) -> list[Row]:
    """Rows that cover every pair of values that may stand together; the same ones every time.

    Args:
        axes: the values of each.
        is_allowed: tells of some axes' values whether they may stand together. Each axis needs a value that may stand
            beside all others.
    """
    chance = random.Random(0)
    wanted = [
        {one: first, other: second}
        for one, other in itertools.combinations(axes, 2)
        for first, second in itertools.product(axes[one], axes[other])
    ]
    missing = {_key(pair): pair for pair in wanted if is_allowed(pair)}
    rows = []
    while missing:
        pair = next(iter(missing.values()))
        tried = [_completed(pair, axes, is_allowed, missing, chance) for _ in range(_TRIES)]
        row = max(tried, key=lambda one: len(_pairs(one) & missing.keys()))
        rows.append({axis: row[axis] for axis in axes})
        for covered in _pairs(row) & missing.keys():
            del missing[covered]
    return rows


def _completed(
    pair: Row,
    axes: Mapping[str, Sequence[Any]],
    is_allowed: Callable[[Row], bool],
    missing: Mapping[frozenset[tuple[str, str]], Row],
    chance: random.Random,
) -> Row:
    row = dict(pair)
    others = [axis for axis in axes if axis not in row]
    for axis in chance.sample(others, len(others)):
        options = [value for value in axes[axis] if is_allowed(row | {axis: value})]
        chance.shuffle(options)
        # Only the pairs with the new axis differ between the options.
        known = [(other, str(value)) for other, value in row.items()]
        best = max(options, key=lambda value: sum(frozenset((one, (axis, str(value)))) in missing for one in known))
        row[axis] = best
    return row


def _pairs(row: Row) -> set[frozenset[tuple[str, str]]]:
    named = [(axis, str(value)) for axis, value in row.items()]
    return {frozenset(two) for two in itertools.combinations(named, 2)}


def _key(pair: Row) -> frozenset[tuple[str, str]]:
    return frozenset((axis, str(value)) for axis, value in pair.items())
