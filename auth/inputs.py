"""Checks what operators write of users and keys, for the command line and the API.

Each function raises `ValueError`, whose message says what to write.
"""

import re
from collections.abc import Iterable, Sequence

from auth.api_key import PREFIX, holds_key
from auth.identity import SCOPES
from storage.policy import Limit
from storage.quotas import Quota
from storage.user_record import in_lower_case

LONGEST_EMAIL = 320
LONGEST_NAME = 100
_PLAN = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
_CUSTOMER = re.compile(r"cus_[A-Za-z0-9]{1,200}")


def email(text: str) -> str:
    """Return the address, as it is stored."""
    _refuse_key(text)
    text = in_lower_case(text)
    if len(text) > LONGEST_EMAIL or not text.isprintable() or not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ValueError("give an address like ada@example.org")
    return text


def user(text: str) -> str:
    """Return the id or the address of a user."""
    # A key given by mistake must not be repeated by an error.
    if text.startswith(PREFIX) or holds_key(text) or len(text) > LONGEST_EMAIL or not text.isprintable():
        raise ValueError("give a user's address or id, as 'list' shows it")
    return text


def name(text: str) -> str:
    """Return the name of a key: any text in one line."""
    text = text.strip()
    _refuse_key(text)
    if not text or len(text) > LONGEST_NAME:
        raise ValueError(f"give a name of 1 to {LONGEST_NAME} characters")
    if not text.isprintable():
        raise ValueError("give a name in one line, without invisible characters")
    if text.startswith(PREFIX):
        raise ValueError(f"give a name that does not begin with {PREFIX}, as a key does")
    return text


def plan(text: str) -> str:
    """Return the name of a plan."""
    _refuse_key(text)
    if not _PLAN.fullmatch(text) or text.startswith(PREFIX):
        raise ValueError("give a plan's name: at most 64 letters, digits, '-', '_' and '.', such as pro")
    return text


def customer(text: str) -> str:
    """Return the id of a customer of Stripe."""
    if not _CUSTOMER.fullmatch(text):
        raise ValueError("write the id of a customer of Stripe, such as cus_NciAYcXfLnqBoz")
    return text


def scopes(names: Iterable[str]) -> frozenset[str]:
    """Return the scopes of a key."""
    found = frozenset(names)
    if not found <= set(SCOPES):
        raise ValueError(f"the scopes are {', '.join(SCOPES[:-1])} and {SCOPES[-1]}")
    return found


def limits(texts: Iterable[str]) -> tuple[Limit, ...]:
    """Return the limits of a user."""
    found = tuple(map(Limit.parse, texts))
    wrong = given_twice(found)
    if wrong is not None:
        raise ValueError(wrong)
    return found


def quotas(texts: Iterable[str]) -> tuple[Quota, ...]:
    """Return the quotas of a user or a plan."""
    found = tuple(map(Quota.parse, texts))
    wrong = quotas_given_twice(found)
    if wrong is not None:
        raise ValueError(wrong)
    return found


def quotas_given_twice(quotas: Sequence[Quota]) -> str | None:
    """Return what is wrong with quotas of which two are for the same period; None if no two are."""
    periods = [quota.period for quota in quotas]
    if len(periods) == len(set(periods)):
        return None
    return f"two quotas are for the same {max(periods, key=periods.count)}; give one of them"


def _refuse_key(text: str) -> None:
    if holds_key(text):
        raise ValueError("leave the API key out: this text is stored, and an API key never is")


def given_twice(limits: Sequence[Limit]) -> str | None:
    """Return what is wrong with limits of which two are for the same window; None if no two are."""
    by_window: dict[int, Limit] = {}
    for one in limits:
        other = by_window.setdefault(one.window_s, one)
        if other is not one:
            both = f"the limit {one} is given twice" if one == other else f"{other} and {one} are for the same time"
            return f"{both}; give one of them"
    return None
