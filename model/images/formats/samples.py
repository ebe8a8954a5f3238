"""Describes the samples of an image file, and converts them to 8 bits.

Only the file's headers decide which sample is black and which is white, never the pixels: a dark picture stays dark.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import NotAnImage

UNSIGNED, SIGNED, FLOATING = "unsigned", "signed", "floating-point"
# Half a step of 8 bits, as a share of the range: a sample may exceed the range by this much, through rounding.
_ROUNDING = 1 / 510
MOST_BITS = 64


@dataclass(frozen=True, slots=True)
class Samples:
    """Describes the samples of a grey image.

    Attributes:
        bits: bits of each sample.
        kind: UNSIGNED, SIGNED or FLOATING.
        is_inverted: whether the smallest value is white, and the largest black.
        stated: the smallest and largest value of signed or floating-point samples, where the file states them.
    """

    bits: int
    kind: str = UNSIGNED
    is_inverted: bool = False
    stated: tuple[float, float] | None = None

    def range(self) -> tuple[float, float]:
        """Return the smallest and largest sample: black and white, or the reverse where `is_inverted`.

        Unsigned and signed samples reach from 0 to the largest number (TIFF 6.0, PNG). Floating-point samples reach
        from 0 to 1 (Adobe's TIFF Technical Note 3).
        """
        if self.stated is not None:
            return self.stated
        if self.kind == FLOATING:
            return 0.0, 1.0
        # A file may state any number of bits; no sample has more than `MOST_BITS`.
        bits = min(self.bits, MOST_BITS)
        return 0.0, float(2 ** (bits - (1 if self.kind == SIGNED else 0)) - 1)

    def in_eight_bits(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Convert samples to 0 (black) to 255 (white), rounded; NaN becomes the smallest value of the range.

        Args:
            values: samples of any shape.

        Raises:
            NotAnImage: signed or floating-point samples lie outside their range.
        """
        least, greatest = self.range()
        if values.dtype == np.uint16 and greatest == 65535 and not self.is_inverted:
            # value * 255 / 65535, rounded, in integer arithmetic.
            return ((values.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)
        shares = (values.astype(np.float64) - least) / (greatest - least)
        if self.kind == FLOATING:
            shares[np.isnan(shares)] = 0
        if self.kind != UNSIGNED and (shares.min(initial=0) < -_ROUNDING or shares.max(initial=0) > 1 + _ROUNDING):
            raise NotAnImage(
                f"The image's {self.kind} samples go beyond {least:g} to {greatest:g}, where its file states no other "
                "range (SMinSampleValue, SMaxSampleValue); save it within that range, or with 8 bits."
            )
        if self.is_inverted:
            shares = 1 - shares
        return (shares * 255).round().clip(0, 255).astype(np.uint8)
