"""Whether a faster way to compute still answers as float32 does: the bars, and a test that ends when it knows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from model.images.decode import decode
from model.recipe import Recipe
from model.tune.speed import Timer

# Images that are computed at a time; the fewest that show anything about a share of 99 %.
BLOCK, FEWEST = 8, 200
MAX_PIXELS = 50_000_000

Pixels = NDArray[np.uint8]
Answers = NDArray[np.float32]
Compute = Callable[[Pixels], Answers]


@dataclass(frozen=True, slots=True)
class Report:
    """How answers differ from float32's, over images.

    Attributes:
        images: how many were looked at.
        same_top1: the share of them whose most probable label is the same.
        within: what the confidences of 99 % of them are within.
        largest: the largest difference of all.
    """

    images: int
    same_top1: float
    within: float
    largest: float

    @classmethod
    def of(cls, theirs: Answers, ours: Answers) -> "Report":
        """Compare probabilities, n x labels: float32's and others. What is no number is as far off as can be."""
        off = np.abs(theirs - np.where(np.isfinite(ours), ours, np.inf)).max(axis=1)
        same = float((theirs.argmax(1) == ours.argmax(1)).mean())
        # Not interpolated: between a number and infinity there is nothing.
        return cls(len(off), same, float(np.quantile(off, 0.99, method="inverted_cdf")), float(off.max()))

    def holds(self, bar: "Report | None" = None) -> bool:
        """Whether the bar is met, which is the contract's unless another is given."""
        bar = bar or REPORT_BAR
        return self.same_top1 >= bar.same_top1 and self.within <= bar.within and self.largest <= bar.largest

    def __str__(self) -> str:
        return (
            f"of {self.images} images {self.same_top1:.1%} keep their first label, confidences are within "
            f"{self.within:.4f} on 99 % of them and {self.largest:.4f} on all"
        )


REPORT_BAR = Report(0, 0.99, 0.02, 0.05)
# What is chosen unasked is shown on some hundred images that are not the callers' own. With half as many turned labels,
# and three quarters of the differences, other images of the same kind still hold the contract's bar.
BAR_WITH_ROOM = Report(0, 0.995, 0.015, 0.0375)


@dataclass
class Reference:
    """What float32 makes of images that are resized exactly, computed once for all that is compared with it.

    Args:
        compute: float32's answers.
        files: the images, as files.
        recipe: how they become the model's input.
    """

    compute: Compute
    files: Iterable[bytes]
    recipe: Recipe
    _done: list[tuple[list[bytes], Pixels, Answers]] = field(default_factory=list)
    _rest: Iterator[bytes] | None = None

    @property
    def is_begun(self) -> bool:
        """Whether something was compared with it already."""
        return bool(self._done)

    def blocks(self) -> Iterator[tuple[list[bytes], Pixels, Answers]]:
        """The files of some images at a time, their pixels, and the answers."""
        yield from self._done
        self._rest = self._rest or iter(self.files)
        # While some are computed, a thread makes the next.
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self._next)
            while (block := coming.result()) is not None:
                coming = pool.submit(self._next)
                self._done.append((*block, self.compute(block[1])))
                yield self._done[-1]

    def _next(self) -> tuple[list[bytes], Pixels] | None:
        assert self._rest is not None, "`blocks` has opened it"
        files = list(islice(self._rest, BLOCK))
        return (files, decoded(files, self.recipe, exact=True)) if files else None


def compare(reference: Reference, compute: Compute, quick: bool, timer: Timer, fewest: int = FEWEST) -> Report | None:
    """How another way to compute does, until it is sure to miss `BAR_WITH_ROOM`; None: the time was too short to tell.

    Args:
        reference: what it is compared with.
        compute: the other way.
        quick: whether its images are resized quickly.
        timer: the time it may take.
        fewest: images without which nothing is shown.
    """
    theirs: list[Answers] = []
    ours: list[Answers] = []
    for files, pixels, answers in reference.blocks():
        theirs.append(answers)
        ours.append(compute(decoded(files, reference.recipe, exact=False) if quick else pixels))
        report = Report.of(np.concatenate(theirs), np.concatenate(ours))
        if not _may_hold(report, ours[-1].shape == answers.shape, fewest):
            return report
        if timer.is_over() and report.images < fewest:
            return None
    return Report.of(np.concatenate(theirs), np.concatenate(ours)) if sum(map(len, theirs)) >= fewest else None


def decoded(files: Sequence[bytes], recipe: Recipe, exact: bool) -> Pixels:
    """uint8, n x height x width x 3."""
    return np.stack([decode(file, recipe, MAX_PIXELS, exact).pixels for file in files])


def _may_hold(report: Report, is_of_one_shape: bool, fewest: int) -> bool:
    """Whether the bar can still be met, were all images up to `fewest` that have yet to come answered well."""
    turned = report.images * (1 - report.same_top1)
    most = max(report.images, fewest) * (1 - BAR_WITH_ROOM.same_top1)
    return is_of_one_shape and turned <= most + 1e-9 and report.largest <= BAR_WITH_ROOM.largest
