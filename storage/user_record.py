"""A user as it is read from the database, with the limits and quotas that count: its own, or those of its plan."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from storage.models import plans, users
from storage.policy import Limit, parse_limits
from storage.quotas import Quota, parse_quotas


@dataclass(frozen=True, slots=True)
class User:
    """A user. Times are Unix microseconds; None: never.

    Attributes:
        user_id: the id.
        email: the address; the id, if the user is erased.
        limits, quotas: the user's own, or those of its plan.
        created_us, disabled_us: when the user was created, and since when the user is disabled.
        hits_kept_s: how long hits are kept, seconds.
        plan: the name of the plan; None: it has none.
        currency: the currency of all that the user pays; None: no plan had a price yet.
        stripe_customer: the customer that Stripe knows the user by; None: nothing is sent to Stripe.
        stripe_from_s: the start of the first hour that is sent, Unix seconds.
        has_own_limits: whether `limits` are the user's own, and not those of its plan or the default ones.
    """

    user_id: str
    email: str
    limits: tuple[Limit, ...]
    created_us: int
    disabled_us: int | None
    hits_kept_s: int
    quotas: tuple[Quota, ...] = ()
    plan: str | None = None
    currency: str | None = None
    stripe_customer: str | None = None
    stripe_from_s: int | None = None
    has_own_limits: bool = True

    @property
    def is_erased(self) -> bool:
        """Whether the user's personal data were erased."""
        return self.email == self.user_id

    @property
    def state(self) -> str:
        """`live`, `disabled` or `erased`."""
        return "erased" if self.is_erased else "disabled" if self.disabled_us is not None else "live"


# What `limits_of` and `quotas_of` read, besides the columns of the user.
of_plan = (plans.c.limits.label("plan_limits"), plans.c.quotas.label("plan_quotas"))
select_users = select(users, *of_plan).outerjoin_from(users, plans, plans.c.name == users.c.plan)


def limits_of(row: Row[*tuple[Any, ...]]) -> tuple[Limit, ...]:
    """Return the limits of a user, from a row of it and its plan: its own override the plan's."""
    return parse_limits(row.plan_limits if row.plan_limits and not row.has_own_limits else row.limits)


def quotas_of(row: Row[*tuple[Any, ...]]) -> tuple[Quota, ...]:
    """Return the quotas of a user, from a row of it and its plan: its own override the plan's."""
    return parse_quotas(row.quotas or row.plan_quotas)


def from_row(row: Row[*tuple[Any, ...]]) -> User:
    """Return the user of a row of `select_users`."""
    known = (row.id, row.email, limits_of(row), row.created_us, row.disabled_us, row.hits_kept_s)
    bills = (row.plan, row.currency, row.stripe_customer, row.stripe_from_s)
    return User(*known, quotas_of(row), *bills, bool(row.has_own_limits))


def in_lower_case(email: str) -> str:
    """Return an address as it is stored: `Ada@Example.org` and `ada@example.org` are one user."""
    return email.lower()
