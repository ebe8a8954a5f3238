"""Reads the header `Retry-After` in answers of other services: of Stripe, and of the owner's endpoint for webhooks."""

from datetime import datetime
from email.utils import parsedate_to_datetime

# A year. A longer time is a mistake, and the time must fit into the database.
LONGEST_S = 366 * 86400.0


def retry_after_s(written: str, now: datetime) -> float | None:
    """Return how long a service asks to wait, seconds, at most `LONGEST_S`; None if it does not say.

    Source: RFC 9110, 10.2.3: a number of seconds, or a date.

    Args:
        written: the value of the header; empty if there is none.
        now: the time, with a time zone.
    """
    if written.isascii() and written.isdigit():
        return min(LONGEST_S, float(written))
    try:
        wanted_s = (parsedate_to_datetime(written) - now).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(LONGEST_S, max(0.0, wanted_s))
