"""Compares the answers of a configuration with those of float32, until the result is certain."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from model.images.decode import decode
from model.recipe import Recipe
from model.tune.speed import Timer

# Images computed at a time, and the fewest images that say anything about a share of 99 %.
BLOCK, FEWEST = 8, 200
MAX_PIXELS = 50_000_000

Pixels = NDArray[np.uint8]
Answers = NDArray[np.float32]
Compute = Callable[[Pixels], Answers]


@dataclass(frozen=True, slots=True)
class Report:
    """Describes how much answers differ from those of float32. The prepared model's manifest stores it by these names.

    Attributes:
        images: the number of images compared.
        same_top1: share of the images with the same most probable label, 0 to 1.
        within: the 99 % quantile of the images' largest differences of a confidence.
        largest: the largest difference of a confidence in any image.
    """

    images: int
    same_top1: float
    within: float
    largest: float

    @classmethod
    def of(cls, theirs: Answers, ours: Answers) -> "Report":
        """Compare probabilities, n x labels.

        Args:
            theirs: those of float32.
            ours: the others; NaN and infinity in them count as an infinite difference.
        """
        off = np.abs(theirs - np.where(np.isfinite(ours), ours, np.inf)).max(axis=1)
        same = float((theirs.argmax(1) == ours.argmax(1)).mean())
        # Without interpolation, since a difference may be infinite.
        return cls(len(off), same, float(np.quantile(off, 0.99, method="inverted_cdf")), float(off.max()))

    def meets(self, required: "Report | None" = None) -> bool:
        """Tell whether the answers are as accurate as required; by default, as the contract requires (`REQUIRED`)."""
        required = required or REQUIRED
        return (
            self.same_top1 >= required.same_top1 and self.within <= required.within and self.largest <= required.largest
        )

    def __str__(self) -> str:
        return (
            f"of {self.images} images {self.same_top1:.1%} keep their first label, confidences are within "
            f"{self.within:.4f} on 99 % of them and {self.largest:.4f} on all"
        )


# The accuracy that the contract requires.
REQUIRED = Report(0, 0.99, 0.02, 0.05)
# `auto` compares on some hundred images that are not the callers' own. It therefore allows half as many changed labels
# and three quarters of the differences, so that other images of the same kind still meet the contract's requirement.
REQUIRED_WITH_MARGIN = Report(0, 0.995, 0.015, 0.0375)


@dataclass
class Float32Reference:
    """Computes the answers of float32 with the exact resize, once for all configurations compared with it.

    Args:
        compute: computes the answers in float32.
        files: the images, as files.
        recipe: how an image becomes the model's input.
        fewest: the number of images needed for a result.
    """

    compute: Compute
    files: Iterable[bytes]
    recipe: Recipe
    fewest: int = FEWEST
    _done: list[tuple[list[bytes], Pixels, Answers]] = field(default_factory=list)
    _rest: Iterator[bytes] | None = None

    @property
    def is_started(self) -> bool:
        """Tell whether some of its answers are computed already."""
        return bool(self._done)

    def blocks(self) -> Iterator[tuple[list[bytes], Pixels, Answers]]:
        """Yield blocks of up to `BLOCK` images: files, pixels, and float32's answers."""
        yield from self._done
        self._rest = self._rest or iter(self.files)
        # A thread decodes the next block while the engine computes this one.
        with ThreadPoolExecutor(1) as pool:
            next_block = pool.submit(self._next)
            while (block := next_block.result()) is not None:
                next_block = pool.submit(self._next)
                self._done.append((*block, self.compute(block[1])))
                yield self._done[-1]

    def _next(self) -> tuple[list[bytes], Pixels] | None:
        assert self._rest is not None, "`blocks` has opened it"
        files = list(islice(self._rest, BLOCK))
        return (files, decode_files(files, self.recipe, exact=True)) if files else None


def compare(
    reference: Float32Reference, compute: Compute, quick: bool, timer: Timer, required: Report = REQUIRED_WITH_MARGIN
) -> Report | None:
    """Compare another way to compute with float32, and stop once it is certain to miss what is required.

    Args:
        reference: the answers of float32.
        compute: the other way to compute.
        quick: whether its images are resized quickly.
        timer: limits the time.
        required: the accuracy that is required.

    Returns:
        how the answers differ; None: the time was too short for a result.
    """
    fewest = reference.fewest
    theirs: list[Answers] = []
    ours: list[Answers] = []
    for files, pixels, answers in reference.blocks():
        theirs.append(answers)
        ours.append(compute(decode_files(files, reference.recipe, exact=False) if quick else pixels))
        report = Report.of(np.concatenate(theirs), np.concatenate(ours))
        if not _can_still_meet(report, required, ours[-1].shape == answers.shape, fewest):
            return report
        if timer.is_over() and report.images < fewest:
            return None
    return Report.of(np.concatenate(theirs), np.concatenate(ours)) if sum(map(len, theirs)) >= fewest else None


def decode_files(files: Sequence[bytes], recipe: Recipe, exact: bool) -> Pixels:
    """Decode image files for the model: uint8, n x height x width x 3."""
    return np.stack([decode(file, recipe, MAX_PIXELS, exact).pixels for file in files])


def _can_still_meet(report: Report, required: Report, is_of_one_shape: bool, fewest: int) -> bool:
    """Tell whether the requirement would be met if all images still to come, up to `fewest`, had equal answers."""
    changed = report.images * (1 - report.same_top1)
    most = max(report.images, fewest) * (1 - required.same_top1)
    return is_of_one_shape and changed <= most + 1e-9 and report.largest <= required.largest
