"""Reads the values of arguments. Each function raises `argparse.ArgumentTypeError`, which says what to write."""

import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from auth.api_key import PREFIX, ApiKey
from storage.policy import Limit, parse_seconds
from storage.prices import parse_amount, parse_currency
from storage.quotas import Quota
from storage.users import in_lower_case

LONGEST_EMAIL = 320
LONGEST_NAME = 100
_PLAN = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


def key_id(text: str) -> str:
    """Return the key id. If the operator gives a whole key, return only its id, so that no error repeats the secret."""
    if not text.startswith(PREFIX):
        return text
    key = ApiKey.parse(text)
    if key is None:
        raise ArgumentTypeError("give a key's id, as 'list' shows it")
    return key.key_id


def user(text: str) -> str:
    """Return the id or the address of a user."""
    # A key given by mistake must not be repeated by an error.
    if text.startswith(PREFIX):
        raise ArgumentTypeError("give a user's address or id, as 'list' shows it")
    return text


def email(text: str) -> str:
    """Return the address, as it is stored."""
    text = in_lower_case(text)
    if len(text) > LONGEST_EMAIL or not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ArgumentTypeError("give an address like ada@example.org")
    return text


def name(text: str) -> str:
    """Return the name of a key: any text in one line."""
    text = text.strip()
    if not text or len(text) > LONGEST_NAME or not text.isprintable() or text.startswith(PREFIX):
        raise ArgumentTypeError(f"give a name of at most {LONGEST_NAME} characters in one line")
    return text


def limit(text: str) -> Limit:
    """Return a limit, such as `60/minute`."""
    try:
        return Limit.parse(text)
    except ValueError as error:
        # argparse hides the text of a `ValueError`.
        raise ArgumentTypeError(str(error)) from None


def quota(text: str) -> Quota:
    """Return a quota, such as `10000/month`."""
    try:
        return Quota.parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def plan(text: str) -> str:
    """Return the name of a plan."""
    if not _PLAN.fullmatch(text) or text.startswith(PREFIX):
        raise ArgumentTypeError("give a plan's name: at most 64 letters, digits, '-', '_' and '.', such as pro")
    return text


def price(text: str) -> int:
    """Return the price of one image, billionths, from the price of 1,000."""
    try:
        return parse_amount(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def currency(text: str) -> str:
    """Return the code of a currency."""
    try:
        return parse_currency(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def seconds(text: str) -> int:
    """Return a time such as `30d` or `12h`, in seconds."""
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def moment(text: str) -> int:
    """Return a time in ISO 8601 as Unix seconds; UTC if it names no zone."""
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise ArgumentTypeError("write a moment like 2026-11-01 or 2026-11-01T12:00:00Z") from None


def given_twice(limits: Sequence[Limit]) -> str | None:
    """Return what is wrong with limits of which two are for the same window; None if no two are."""
    by_window: dict[int, Limit] = {}
    for one in limits:
        other = by_window.setdefault(one.window_s, one)
        if other is not one:
            both = f"the limit {one} is given twice" if one == other else f"{other} and {one} are for the same time"
            return f"{both}; give one of them"
    return None


def wrong_together(parsed: dict[str, Any]) -> str | None:
    """Return what is wrong with arguments that are right one by one; None if nothing is."""
    periods = [quota.period for quota in parsed.get("quota") or []]
    if len(periods) > len(set(periods)):
        return f"two quotas are for the same {max(periods, key=periods.count)}; give one of them"
    if "price" in parsed and (parsed["price"] is None) != (parsed["currency"] is None):
        return "--price and --currency belong together; give both"
    if "price" in parsed and parsed["since"] is not None and parsed["price"] is None:
        return "--from is the start of a price; give --price and --currency too"
    if "is_none" in parsed:
        name = "limit" if "limit" in parsed else "quota"
        if bool(parsed[name]) == parsed["is_none"]:
            return f"give one {name} or more, or --none"
    return None
