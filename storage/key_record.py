"""An API key as it is read from the database, together with its user's limits and plan."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Case, Row, case, select

from storage.last_use import minute_of
from storage.models import api_keys, plans, users
from storage.policy import Limit, kept_s
from storage.prices import Price, in_force
from storage.quotas import Quota
from storage.user_record import limits_of, of_plan, quotas_of


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key and its user. Times are Unix microseconds; None: never.

    Attributes:
        key_id: the public id of the key.
        user_id: the user.
        email: the user's address.
        secret_sha256: the SHA-256 of the key's secret, hexadecimal.
        scopes: what the key allows.
        limits, quotas: the user's own, or those of its plan.
        created_us, expires_us, revoked_us: when the key was created, expires, and was revoked.
        hits_kept_s: how long hits are kept, seconds: the longest window that the user ever had, at least a day.
        disabled_us: since when the user is disabled.
        name: what the operator calls the key; None: it has no name.
        last_used_us: when the key was last used, to the minute.
        replaced_by: the id of the key that replaces this one; None: it was not rotated.
        plan: the name of the user's plan; None: it has none.
        currency: the currency of all that the user pays; None: no plan had a price yet.
        prices: the prices of the plan. Only `find` reads them.
    """

    key_id: str
    user_id: str
    email: str
    secret_sha256: str
    scopes: frozenset[str]
    limits: tuple[Limit, ...]
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    hits_kept_s: int
    disabled_us: int | None = None
    name: str | None = None
    last_used_us: int | None = None
    replaced_by: str | None = None
    quotas: tuple[Quota, ...] = ()
    plan: str | None = None
    currency: str | None = None
    prices: tuple[Price, ...] = ()

    def cost_nanos(self, images: int, at_us: int) -> int:
        """Return the cost of billable images of a request at that time, in billionths of the currency's unit."""
        price = in_force(self.prices, at_us) if images else None
        return images * price.nanos if price is not None else 0

    def is_live(self, now_us: int) -> bool:
        """Return whether the key is neither revoked nor expired, and its user not disabled."""
        if self.revoked_us is not None or self.disabled_us is not None:
            return False
        return self.expires_us is None or now_us < self.expires_us

    def state(self, now_us: int) -> str:
        """Return `live`, `revoked`, `expired` or `disabled`; see `state_column`."""
        if self.revoked_us is not None:
            return "revoked"
        if self.is_live(now_us):
            return "live"
        return "expired" if self.expires_us is not None and self.expires_us <= now_us else "disabled"

    def is_use_to_note(self, at_us: int) -> bool:
        """Return whether to note a use at that time: it is in a later minute than the last use that was noted."""
        return (self.last_used_us or 0) < minute_of(at_us)


select_records = (
    select(
        api_keys.c.id,
        api_keys.c.user_id,
        users.c.email,
        api_keys.c.secret_sha256,
        api_keys.c.scopes,
        users.c.limits,
        api_keys.c.created_us,
        api_keys.c.expires_us,
        api_keys.c.revoked_us,
        users.c.hits_kept_s,
        users.c.disabled_us,
        api_keys.c.name,
        api_keys.c.last_used_us,
        api_keys.c.replaced_by,
        users.c.has_own_limits,
        users.c.quotas,
        users.c.plan,
        users.c.currency,
        *of_plan,
    )
    .join_from(api_keys, users)
    .outerjoin(plans, plans.c.name == users.c.plan)
)


def from_row(row: Row[*tuple[Any, ...]]) -> KeyRecord:
    """Return the key of a row of `select_records`, without prices."""
    limits = limits_of(row)
    return KeyRecord(
        row.id,
        row.user_id,
        row.email,
        row.secret_sha256,
        frozenset(row.scopes.split()),
        limits,
        row.created_us,
        row.expires_us,
        row.revoked_us,
        # The previous version of this project sets limits without setting hits_kept_s.
        max(row.hits_kept_s, kept_s(limits)),
        row.disabled_us,
        row.name,
        row.last_used_us,
        row.replaced_by,
        quotas_of(row),
        row.plan,
        row.currency,
    )


def state_column(now_us: int) -> Case[str]:
    """Return the state of a key in SQL: the first that fits of `revoked`, `expired`, `disabled` and `live`.

    `live` is last: a key is `disabled` if only its user keeps it from being live.
    """
    revoked, expired = api_keys.c.revoked_us.is_not(None), api_keys.c.expires_us <= now_us
    disabled = users.c.disabled_us.is_not(None)
    return case((revoked, "revoked"), (expired, "expired"), (disabled, "disabled"), else_="live")
