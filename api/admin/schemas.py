"""The queries, bodies and answers of the routes of operators."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.fields import (
    Amount,
    Currency,
    Email,
    KeyName,
    Limits,
    Moment,
    PlanLimits,
    PlanName,
    PositiveSeconds,
    Quotas,
    Scopes,
    StripeCustomer,
    UserName,
)
from api.key_schemas import Key
from api.numbers import WholeNumber
from api.read_schemas import CURSOR, NEXT_CURSOR, Cost, Usage, UsageQuery

MOST_PER_PAGE = 100
_PageLimit = Annotated[WholeNumber, Field(ge=1, le=MOST_PER_PAGE, description="The most on a page.")]


def _left_out() -> Any:
    """Return None for a field that was left out. To type checkers it is `Any`, so a field need not accept null too."""
    return None


LEFT_OUT: Callable[[], Any] = _left_out


class Body(BaseModel):
    """A body in which a field that the route does not know is an error."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(BaseModel):
    """v2: selects a page."""

    limit: _PageLimit = MOST_PER_PAGE
    cursor: Annotated[str, Field(max_length=32)] | None = Field(None, description=CURSOR)


class UsersQuery(PageQuery):
    """v2: selects users."""

    email: Email | None = Field(None, description="Only the user with this address, in upper or lower case.")


class User(BaseModel):
    """v2: a user."""

    user_id: str
    email: str = Field(description="The address, in lower case; the user's id, if the user is erased.")
    state: str = Field(description="`live`; `disabled`: all keys are refused; or `erased`.")
    limits: list[str] = Field(description="The user's own, or those of its plan.")
    quotas: list[str] = Field(description="The user's own, or those of its plan.")
    plan: str | None
    created_at: datetime
    disabled_at: datetime | None = Field(description="Since when all keys are refused.")
    stripe_customer: str | None = Field(description="To whom Stripe bills the user's images; null: to nobody.")
    stripe_from: datetime | None = Field(description="The first hour whose images are sent to Stripe.")


class Users(BaseModel):
    """v2: a page of users, the oldest first."""

    data: list[User]
    next_cursor: str | None = Field(description=NEXT_CURSOR)


class NewUser(Body):
    """v2: a user to create, without a key."""

    email: Email
    limits: Limits = Field(default_factory=LEFT_OUT, description="By default those of `CLASSIFIER_DEFAULT_LIMIT`.")
    quotas: Quotas = Field(default_factory=LEFT_OUT, description="By default none.")


class UserChange(Body):
    """v2: what to change of a user. What is left out stays."""

    email: Email = Field(default_factory=LEFT_OUT)
    limits: Limits = Field(default_factory=LEFT_OUT, description="All limits; they replace the present ones.")
    quotas: Quotas = Field(default_factory=LEFT_OUT, description="All quotas; an empty list leaves those of the plan.")
    plan: PlanName | None = Field(
        default_factory=LEFT_OUT, description="The plan; null takes it away. Own limits and quotas override it."
    )
    drop_own: bool = Field(
        default_factory=LEFT_OUT, description="With `plan`: whether the user's own limits and quotas are removed."
    )
    disabled: bool = Field(default_factory=LEFT_OUT, description="Whether all keys of the user are refused.")
    stripe_customer: StripeCustomer | None = Field(
        default_factory=LEFT_OUT, description="To whom Stripe bills the user's images from now on; null: to nobody."
    )
    stripe_from: Moment = Field(
        default_factory=LEFT_OUT,
        description="With `stripe_customer`: the first hour to send. By default as it was, or the next hour.",
    )


class KeysQuery(PageQuery):
    """v2: selects keys."""

    user: UserName | None = Field(None, description="Only keys of the user of this id or address.")
    state: Literal["live", "revoked", "expired", "disabled"] | None = Field(
        None, description="Only keys in this state."
    )


class UsersKey(Key):
    """v2: an API key and its user, without its secret."""

    user_id: str
    email: str
    limits: list[str] = Field(description="The limits of the user.")
    quotas: list[str] = Field(description="The quotas of the user.")
    plan: str | None = Field(description="The plan of the user.")


class UsersKeys(BaseModel):
    """v2: a page of keys, the oldest first."""

    data: list[UsersKey]
    next_cursor: str | None = Field(description=NEXT_CURSOR)


class KeyOrder(Body):
    """v2: a key to create, for the user `user_id`, or for the one with the address `email`."""

    user_id: UserName = Field(default_factory=LEFT_OUT, description="A user that exists.")
    email: Email = Field(
        default_factory=LEFT_OUT, description="The user is created if there is none with this address."
    )
    name: KeyName = Field(default_factory=LEFT_OUT, description="A name for the key.")
    limits: Limits = Field(default_factory=LEFT_OUT, description="The limits of a new user.")
    quotas: Quotas = Field(default_factory=LEFT_OUT, description="The quotas of a new user.")
    scopes: Scopes = Field(default_factory=LEFT_OUT, description="By default `classify` and `usage`.")
    expires_in: PositiveSeconds = Field(
        default_factory=LEFT_OUT, description="Seconds, or a time such as `30d`. By default the key does not expire."
    )


class PlanPrice(BaseModel):
    """v2: what 1,000 images cost from a time on, until the next price."""

    price: str = Field(description="A decimal number such as `1.50`.")
    currency: str = Field(description="The code of ISO 4217, such as `EUR`.")
    since: datetime = Field(serialization_alias="from")


class Plan(BaseModel):
    """v2: the limits, quotas and prices that users have in common."""

    name: str
    limits: list[str] = Field(description="For users of the plan who have none of their own; may be empty.")
    quotas: list[str] = Field(description="For users of the plan who have none of their own; may be empty.")
    prices: list[PlanPrice] = Field(description="The oldest first; empty: the plan costs nothing.")
    created_at: datetime


class Plans(BaseModel):
    """v2: a page of plans, by name."""

    data: list[Plan]
    next_cursor: str | None = Field(description=NEXT_CURSOR)


class PlansQuery(BaseModel):
    """v2: selects a page of plans."""

    limit: _PageLimit = MOST_PER_PAGE
    cursor: Annotated[str, Field(max_length=64)] | None = Field(None, description=CURSOR)


class PlanChange(Body):
    """v2: what to change of a plan. What is left out stays. A price is added; what was logged keeps its price."""

    limits: PlanLimits = Field(default_factory=LEFT_OUT, description="All limits; an empty list: it names none.")
    quotas: Quotas = Field(default_factory=LEFT_OUT, description="All quotas; an empty list: it names none.")
    price: Amount = Field(default_factory=LEFT_OUT, description="Of 1,000 images, such as `1.50`.")
    currency: Currency = Field(default_factory=LEFT_OUT, description="The code of ISO 4217, such as `EUR`.")
    since: Moment = Field(
        default_factory=LEFT_OUT, alias="from", description="When the price begins. The default is now."
    )


class NewPlan(PlanChange):
    """v2: a plan to create. A price has a currency too."""

    name: PlanName


class UserUsageQuery(UsageQuery):
    """v2: selects the requests of a user that are counted."""

    user: UserName = Field(description="The user's id or address.")


class AllTime(BaseModel):
    """v2: all classification requests of a user that passed the limit, at any time."""

    requests: int
    images: int
    billable_images: int | None = Field(description="The images that were answered with predictions; null: unknown.")
    cost: Cost | None


class UserUsage(Usage):
    """v2: the requests of a user in buckets of time, the oldest first; empty buckets are left out."""

    user_id: str
    email: str
    all_time: AllTime


class AuditQuery(BaseModel):
    """v2: selects a page of the audit log."""

    limit: _PageLimit = MOST_PER_PAGE
    cursor: Annotated[WholeNumber, Field(ge=0, le=2**63 - 1)] | None = Field(None, description=CURSOR)
    order: Literal["oldest", "newest"] = Field("oldest", description="Which entries come first.")


class AuditEntry(BaseModel):
    """v2: a change of users or keys."""

    id: int
    at: datetime
    actor: str = Field(description="Who made it: a user of the server, or a key and the address of its caller.")
    action: str = Field(description="The change: `create`, `rotate`, `revoke`, `rename`, ...")
    user_id: str | None
    key_id: str | None
    detail: dict[str, Any]


class AuditLog(BaseModel):
    """v2: a page of the audit log, in the order that was asked for."""

    data: list[AuditEntry]
    next_cursor: str | None = Field(description=NEXT_CURSOR)
