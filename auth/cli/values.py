"""Reads the values of arguments. Each function raises `argparse.ArgumentTypeError`, which says what to write."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from auth import inputs
from auth.api_key import PREFIX, ApiKey, holds_key
from storage.policy import Limit, parse_seconds
from storage.prices import parse_amount, parse_currency
from storage.quotas import Quota
from storage.urls import postgresql

T = TypeVar("T")


def key_id(text: str) -> str:
    """Return the key id. If the operator gives a whole key, return only its id, so that no error repeats the secret."""
    if not (text.startswith(PREFIX) or holds_key(text)) and text.isprintable():
        return text
    key = ApiKey.parse(text)
    if key is None:
        raise ArgumentTypeError("give a key's id, as 'list' shows it")
    return key.key_id


def moment(text: str) -> int:
    """Return a time in ISO 8601 as Unix seconds; UTC if it names no zone."""
    try:
        found = datetime.fromisoformat(text)
        # In UTC, where the time may be outside the years that can be written.
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        raise ArgumentTypeError("write a moment like 2026-11-01 or 2026-11-01T12:00:00Z") from None


def file(text: str) -> Path:
    """Return the path of a file."""
    # Not one that can't be printed, or that SQLite can't open: it is no UTF-8.
    if not text or not text.isprintable():
        raise ArgumentTypeError("give the name of a file, in UTF-8 and in one line")
    return Path(text)


def file_or_stdout(text: str) -> Path | None:
    """Return the path of a file; None for `-`, which stands for standard output."""
    return None if text == "-" else file(text)


def user_or_event(text: str) -> str:
    """Return the identifier of an event, which has slashes, or else a user."""
    return text if text.startswith("usr_") and "/" in text else user(text)


def _argument(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return the function with its `ValueError`, whose text argparse hides, as an `ArgumentTypeError`."""

    @wraps(read)
    def read_argument(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return read_argument


user = _argument(inputs.user)
email = _argument(inputs.email)
name = _argument(inputs.name)
limit = _argument(Limit.parse)
# A time such as `30d` or `12h`, in seconds.
seconds = _argument(parse_seconds)
quota = _argument(Quota.parse)
plan = _argument(inputs.plan)
customer = _argument(inputs.customer)
# The price of one image, billionths, from the price of 1,000.
price = _argument(parse_amount)
currency = _argument(parse_currency)
postgresql_url = _argument(postgresql)


def wrong_together(parsed: dict[str, Any]) -> str | None:
    """Return what is wrong with arguments that are right one by one; None if nothing is."""
    twice = inputs.quotas_given_twice(parsed.get("quota") or [])
    if twice is not None:
        return twice
    if "price" in parsed and (parsed["price"] is None) != (parsed["currency"] is None):
        return "--price and --currency belong together; give both"
    if "price" in parsed and parsed["since"] is not None and parsed["price"] is None:
        return "--from is the start of a price; give --price and --currency too"
    since, until = parsed.get("since"), parsed.get("until")
    if since is not None and until is not None and since >= until:
        return "--from must be before --to"
    if "is_none" in parsed:
        name = "limit" if "limit" in parsed else "quota"
        if bool(parsed[name]) == parsed["is_none"]:
            return f"give one {name} or more, or --none"
    return None
