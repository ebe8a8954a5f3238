"""The commands about plans."""

import time
from collections.abc import Callable
from typing import Any

from auth.cli import reports
from auth.cli.actor import actor
from auth.cli.answer import Answer, Context
from storage import plan_changes, plans
from storage.clock import MICROSECONDS, iso, unix_us
from storage.plan_changes import BEGINS_AFTER_US
from storage.plans import Plan
from storage.policy import Limit
from storage.prices import Price
from storage.quotas import Quota


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
    made = context.database.change(lambda connection: plan_changes.create(connection, new, actor()))
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
    """Replace the limits of a plan. Without limits, the plan leaves those of its users as they are."""
    return _set(context, lambda connection: plan_changes.set_limits(connection, name, tuple(limit), actor()))


def set_quota(context: Context, *, name: str, quota: list[Quota]) -> Answer:
    """Replace the quotas of a plan. Without quotas, the plan leaves those of its users as they are."""
    return _set(context, lambda connection: plan_changes.set_quotas(connection, name, tuple(quota), actor()))


def _set(context: Context, change: Callable[[Any], Plan]) -> Answer:
    changed = context.change_keys(change)
    return Answer(reports.plan(changed), f"The plan {changed.name} is changed, for all its users.")


def set_price(context: Context, *, name: str, price: int, currency: str, since: int | None) -> Answer:
    """Give a plan another price from a time on. `price` is in billionths for one image, `since` in Unix seconds."""

    def change(connection: Any) -> tuple[Plan, Price]:
        # The lock may have to wait for other changes. The time is read then, so that a price begins in the future.
        plans.lock(connection)
        now_us = unix_us()
        new = Price(price, currency, now_us + BEGINS_AFTER_US if since is None else since * MICROSECONDS)
        return plan_changes.set_price(connection, name, new, now_us, actor()), new

    changed, new = context.database.change(change)
    time.sleep(BEGINS_AFTER_US / MICROSECONDS)
    text = f"1,000 images cost {new.per_1000} {currency} under the plan {name} from {iso(new.from_us)} on."
    return Answer(reports.plan(changed), text)


def assign(context: Context, *, user: str, name: str, drop_own: bool) -> Answer:
    """Give a user a plan."""
    changed = context.change_keys(
        lambda connection: plan_changes.assign(connection, user, name, actor(), drops_own=drop_own)
    )
    return Answer(reports.user(changed), f"{changed.email} has the plan {name} now.")


def unassign(context: Context, *, user: str) -> Answer:
    """Take the plan from a user."""
    changed = context.change_keys(lambda connection: plan_changes.unassign(connection, user, actor()))
    return Answer(reports.user(changed), f"{changed.email} has no plan now.")
