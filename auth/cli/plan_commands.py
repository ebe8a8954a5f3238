"""The commands about plans. The transaction that makes a change also writes it to the audit log."""

import time
from typing import Any

from auth.cli import reports
from auth.cli.answer import Answer, Context, record
from storage import plans
from storage.clock import iso, unix_us
from storage.keys import KEY_MEMORY_S
from storage.plans import Plan
from storage.policy import Limit, write_limits
from storage.prices import Price
from storage.quotas import Quota, write_quotas
from storage.users import User

MICROSECONDS = 1_000_000
# A price without a date begins so much later, microseconds: until then, workers may use the prices they have read.
BEGINS_AFTER_US = int(2 * KEY_MEMORY_S * MICROSECONDS)


def create(
    context: Context,
    *,
    name: str,
    limit: list[Limit],
    quota: list[Quota],
    price: int | None,
    currency: str | None,
    since: int | None,
) -> Answer:
    """Create a plan. `price` is in billionths for one image, `since` in Unix seconds."""
    now_us = unix_us()
    from_us = now_us if since is None else since * MICROSECONDS
    prices = (Price(price, currency, from_us),) if price is not None and currency is not None else ()
    new = Plan(name, tuple(limit), tuple(quota), prices, now_us)

    def change(connection: Any) -> Plan:
        made = plans.create(connection, new)
        record(connection, "plan-create", None, None, {"plan": name, **_given(made), **_priced(made.prices)})
        return made

    made = context.database.change(change)
    return Answer(reports.plan(made), f"The plan {name} is made; `plan assign USER {name}` gives it to a user.")


def list_plans(context: Context) -> Answer:
    """List all plans."""
    described = [reports.plan(plan) for plan in context.database.ask(plans.every)]
    if not described:
        return Answer({"plans": []}, "No plans yet.")
    return Answer({"plans": described}, tables=(reports.plans(described),))


def show(context: Context, *, name: str) -> Answer:
    """Show a plan with all its prices."""
    described = reports.plan(context.database.ask(lambda connection: plans.require(connection, name)))
    return Answer(described, tables=(reports.plans([described]),))


def set_limit(context: Context, *, name: str, limit: list[Limit]) -> Answer:
    """Replace the limits of a plan; none: it says nothing of limits."""
    return _set(context, "plan-set-limit", lambda connection: plans.set_limits(connection, name, tuple(limit)))


def set_quota(context: Context, *, name: str, quota: list[Quota]) -> Answer:
    """Replace the quotas of a plan; none: it says nothing of quotas."""
    return _set(context, "plan-set-quota", lambda connection: plans.set_quotas(connection, name, tuple(quota)))


def _set(context: Context, action: str, change: Any) -> Answer:
    def change_and_audit(connection: Any) -> Plan:
        before, after = change(connection)
        old = {f"old_{field}": value for field, value in _given(before).items()}
        record(connection, action, None, None, {"plan": after.name, **_given(after), **old})
        return after

    changed = context.database.change(change_and_audit)
    time.sleep(KEY_MEMORY_S)
    return Answer(reports.plan(changed), f"The plan {changed.name} is changed, for all its users.")


def set_price(context: Context, *, name: str, price: int, currency: str, since: int | None) -> Answer:
    """Give a plan another price from a time on. `price` is in billionths for one image, `since` in Unix seconds."""
    now_us = unix_us()
    from_us = now_us + BEGINS_AFTER_US if since is None else since * MICROSECONDS
    new = Price(price, currency, from_us)

    def change(connection: Any) -> Plan:
        _, after = plans.set_price(connection, name, new, now_us)
        record(connection, "plan-set-price", None, None, {"plan": name, **_priced((new,))})
        return after

    changed = context.database.change(change)
    time.sleep(BEGINS_AFTER_US / MICROSECONDS)
    text = f"1,000 images cost {new.per_1000} {currency} under the plan {name} from {iso(from_us)} on."
    return Answer(reports.plan(changed), text)


def assign(context: Context, *, user: str, name: str, drop_own: bool) -> Answer:
    """Give a user a plan."""

    def change(connection: Any) -> User:
        before, after = plans.assign(connection, user, name, drops_own=drop_own)
        _record_assignment(connection, "plan-assign", before, after, drops_own=drop_own)
        return after

    changed = context.database.change(change)
    time.sleep(KEY_MEMORY_S)
    return Answer(reports.user(changed), f"{changed.email} has the plan {name} now.")


def unassign(context: Context, *, user: str) -> Answer:
    """Take the plan from a user."""

    def change(connection: Any) -> User:
        before, after = plans.unassign(connection, user)
        _record_assignment(connection, "plan-unassign", before, after)
        return after

    changed = context.database.change(change)
    time.sleep(KEY_MEMORY_S)
    return Answer(reports.user(changed), f"{changed.email} has no plan now.")


def _record_assignment(connection: Any, action: str, before: User, after: User, **more: Any) -> None:
    detail = {"email": after.email, "plan": after.plan, "old_plan": before.plan, **more}
    limits = {"limits": write_limits(after.limits), "quotas": write_quotas(after.quotas)}
    record(connection, action, after.user_id, None, detail | limits)


def _given(plan: Plan) -> dict[str, Any]:
    return {"limits": write_limits(plan.limits) or None, "quotas": write_quotas(plan.quotas)}


def _priced(prices: tuple[Price, ...]) -> dict[str, Any]:
    """Return the first price as the audit log keeps it; nothing without prices."""
    return (
        {"price": prices[0].per_1000, "currency": prices[0].currency, "from": iso(prices[0].from_us)} if prices else {}
    )
