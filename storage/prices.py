"""Prices and costs, exact: whole numbers of a billionth of a currency's unit, never floats.

A price is for 1,000 images. So one image costs as many billionths as 1,000 images cost millionths.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

NANOS = 1_000_000_000
_AMOUNT = re.compile(r"\d{1,6}(?:\.\d{1,6})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}")
# The fewest decimals that an amount is written with.
_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class Price:
    """What images cost from a time on.

    Attributes:
        nanos: what one image costs, billionths of the currency's unit.
        currency: the code of ISO 4217, such as `EUR`.
        from_us: since when, Unix microseconds.
    """

    nanos: int
    currency: str
    from_us: int

    @classmethod
    def parse(cls, per_1000: str, currency: str, from_us: int) -> Self:
        """Parse a price such as `1.50` for 1,000 images.

        Raises:
            ValueError: the price or the currency is wrong; the message says how to write it.
        """
        return cls(parse_amount(per_1000), parse_currency(currency), from_us)

    @property
    def per_1000(self) -> str:
        """The price of 1,000 images, such as `1.50`."""
        return write_amount(self.nanos * 1000)


def parse_amount(per_1000: str) -> int:
    """Parse the price of 1,000 images, such as `1.50`, and return the price of one, billionths.

    Raises:
        ValueError: the text is not a price; the message says how to write one.
    """
    if not _AMOUNT.fullmatch(per_1000):
        raise ValueError("write a price of 1,000 images like 1.50, with at most 6 decimals")
    return int(Decimal(per_1000) * NANOS) // 1000


def parse_currency(text: str) -> str:
    """Return the code of a currency in upper case.

    Raises:
        ValueError: the text is no such code; the message says how to write one.
    """
    if not _CURRENCY.fullmatch(text.upper()):
        raise ValueError("write a currency as its three letters, such as EUR")
    return text.upper()


def in_force(prices: Iterable[Price], at_us: int) -> Price | None:
    """Return the price that is in force at a time, Unix microseconds: the last to begin; None before the first."""
    begun = [price for price in prices if price.from_us <= at_us]
    return max(begun, key=lambda price: price.from_us, default=None)


def write_amount(nanos: int) -> str:
    """Write an amount exactly, with two decimals or more: `0.15`, `0.0015`."""
    whole, rest = divmod(nanos, NANOS)
    decimals = f"{rest:09d}".rstrip("0").ljust(_DECIMALS, "0")
    return f"{whole}.{decimals}"
