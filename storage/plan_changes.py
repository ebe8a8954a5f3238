"""Changes plans, and who has them. Each change is on the audit log, in the same transaction."""

from typing import Any

from sqlalchemy import Connection

from storage import audit, plans
from storage.audit import Entry
from storage.clock import MICROSECONDS, iso, unix_us
from storage.keys import KEY_MEMORY_S
from storage.plans import Plan
from storage.policy import Limit, write_limits
from storage.prices import Price
from storage.quotas import Quota, write_quotas
from storage.user_record import User

# A price without a date begins so much later, microseconds: until then, workers may use the prices they have read.
BEGINS_AFTER_US = int(2 * KEY_MEMORY_S * MICROSECONDS)


def create(connection: Connection, plan: Plan, actor: str) -> Plan:
    """Create a plan, and return it.

    Raises:
        Refused: there is a plan of this name, or there are too many limits.
    """
    made = plans.create(connection, plan)
    _record(connection, actor, "plan-create", None, {"plan": made.name, **_given(made), **_priced(made.prices)})
    return made


def set_limits(connection: Connection, name: str, limits: tuple[Limit, ...], actor: str) -> Plan:
    """Replace the limits of a plan, and return it. Without limits, it leaves those of its users as they are.

    Raises:
        Refused: there is no such plan, or there are too many limits.
    """
    return _changed(connection, actor, "plan-set-limit", plans.set_limits(connection, name, limits))


def set_quotas(connection: Connection, name: str, quotas: tuple[Quota, ...], actor: str) -> Plan:
    """Replace the quotas of a plan, and return it. Without quotas, it leaves those of its users as they are.

    Raises:
        Refused: there is no such plan.
    """
    return _changed(connection, actor, "plan-set-quota", plans.set_quotas(connection, name, quotas))


def set_price(connection: Connection, name: str, price: Price, now_us: int, actor: str) -> Plan:
    """Add a price, which is in force from `price.from_us` on, and return the plan.

    Raises:
        Refused: see `plans.set_price`.
    """
    _, after = plans.set_price(connection, name, price, now_us)
    _record(connection, actor, "plan-set-price", None, {"plan": name, **_priced((price,))})
    return after


def assign(connection: Connection, user: str, name: str, actor: str, *, drops_own: bool) -> User:
    """Give a user a plan, and return the user; see `plans.assign`.

    Raises:
        Refused: there is no such user or plan, the user is erased, or pays in another currency.
    """
    before, after = plans.assign(connection, user, name, drops_own=drops_own)
    _record(connection, actor, "plan-assign", after, {**_assigned(before, after), "drops_own": drops_own})
    return after


def unassign(connection: Connection, user: str, actor: str) -> User:
    """Take the plan from a user, and return the user.

    Raises:
        Refused: there is no such user, or it has no plan.
    """
    before, after = plans.unassign(connection, user)
    _record(connection, actor, "plan-unassign", after, _assigned(before, after))
    return after


def _changed(connection: Connection, actor: str, action: str, change: tuple[Plan, Plan]) -> Plan:
    before, after = change
    old = {f"old_{field}": value for field, value in _given(before).items()}
    _record(connection, actor, action, None, {"plan": after.name, **_given(after), **old})
    return after


def _record(connection: Connection, actor: str, action: str, user: User | None, detail: dict[str, Any]) -> None:
    about = {} if user is None else {"email": user.email}
    user_id = None if user is None else user.user_id
    audit.record(connection, Entry(unix_us(), actor, action, user_id, None, {**about, **detail}))


def _given(plan: Plan) -> dict[str, Any]:
    return {"limits": write_limits(plan.limits) or None, "quotas": write_quotas(plan.quotas)}


def _assigned(before: User, after: User) -> dict[str, Any]:
    limits = {"limits": write_limits(after.limits), "quotas": write_quotas(after.quotas)}
    return {"plan": after.plan, "old_plan": before.plan, **limits}


def _priced(prices: tuple[Price, ...]) -> dict[str, Any]:
    """Return the first price as the audit log keeps it; nothing without prices."""
    if not prices:
        return {}
    return {"price": prices[0].per_1000, "currency": prices[0].currency, "from": iso(prices[0].from_us)}
