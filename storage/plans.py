"""Plans: limits, quotas and prices that users have in common. What was logged keeps the plan and the price it had."""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from storage import users as user_records
from storage.clock import iso
from storage.errors import Refused
from storage.models import plan_prices, plans, usage_rollup, users
from storage.policy import Limit, kept_s, parse_limits, write_limits
from storage.prices import Price
from storage.quotas import Quota, parse_quotas, write_quotas
from storage.rollup import ALL_TIME
from storage.user_record import User


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan.

    Attributes:
        name: the name, which never changes.
        limits, quotas: those of a user of the plan who has none of its own; empty: the plan says nothing of them.
        prices: the prices, the oldest first; empty: the plan costs nothing.
        created_us: when the plan was created, Unix microseconds.
    """

    name: str
    limits: tuple[Limit, ...]
    quotas: tuple[Quota, ...]
    prices: tuple[Price, ...]
    created_us: int


def create(connection: Connection, plan: Plan) -> Plan:
    """Create a plan, and return it.

    Raises:
        Refused: there is a plan of this name, or there are too many limits.
    """
    lock(connection)
    if find(connection, plan.name) is not None:
        raise Refused(f"There is a plan {plan.name} already; `python -m auth plan show {plan.name}` shows it.")
    values = {"name": plan.name, "created_us": plan.created_us, **_columns(plan)}
    connection.execute(insert(plans).values(values))
    for price in plan.prices:
        _add_price(connection, plan.name, price)
    return require(connection, plan.name)


def every(connection: Connection) -> list[Plan]:
    """Return all plans, by name."""
    return [_plan(connection, row) for row in connection.execute(select(plans).order_by(plans.c.name)).all()]


def find(connection: Connection, name: str) -> Plan | None:
    """Return the plan of that name; None if there is none."""
    row = connection.execute(select(plans).where(plans.c.name == name)).one_or_none()
    return _plan(connection, row) if row else None


def require(connection: Connection, name: str) -> Plan:
    """Return the plan of that name.

    Raises:
        Refused: there is no such plan.
    """
    plan = find(connection, name)
    if plan is None:
        raise Refused(f"There is no plan {name}; `python -m auth plan list` shows all.")
    return plan


def prices_of(connection: Connection, name: str) -> tuple[Price, ...]:
    """Return the prices of a plan, the oldest first."""
    found = select(plan_prices).where(plan_prices.c.plan == name).order_by(plan_prices.c.from_us)
    return tuple(Price(row.nanos, row.currency, row.from_us) for row in connection.execute(found))


def set_limits(connection: Connection, name: str, limits: tuple[Limit, ...]) -> tuple[Plan, Plan]:
    """Replace the limits of a plan. Without limits, it leaves those of its users. Return the plan before and after.

    Raises:
        Refused: there is no such plan, or there are too many limits.
    """
    before = _require_for_change(connection, name)
    _change(connection, replace(before, limits=limits))
    _keep_hits(connection, users.c.plan == name, before.limits + limits)
    return before, require(connection, name)


def set_quotas(connection: Connection, name: str, quotas: tuple[Quota, ...]) -> tuple[Plan, Plan]:
    """Replace the quotas of a plan. Without quotas, it leaves those of its users. Return the plan before and after.

    Raises:
        Refused: there is no such plan.
    """
    before = _require_for_change(connection, name)
    _change(connection, replace(before, quotas=quotas))
    return before, require(connection, name)


def set_price(connection: Connection, name: str, price: Price, now_us: int) -> tuple[Plan, Plan]:
    """Add a price, which is in force from `price.from_us` on. Return the plan before and after.

    Raises:
        Refused: there is no such plan; the price begins in the past, or not after the last one; the plan has prices in
            another currency; or a user of it has costs in another one.
    """
    before = _require_for_change(connection, name)
    if any(known.currency != price.currency for known in before.prices):
        raise Refused(f"The plan {name} has prices in {before.prices[0].currency}; create another plan for another.")
    if any(known.from_us >= price.from_us for known in before.prices):
        last = iso(before.prices[-1].from_us)
        raise Refused(f"The plan {name} has a price from {last} on; give a later time.")
    if price.from_us < now_us:
        raise Refused("A price can't begin in the past: what was logged keeps its price. Give a later time, or none.")
    # In one statement, since a plan may have many users, and nobody else can write meanwhile.
    pays_nothing_yet = (users.c.plan == name, users.c.currency.is_(None))
    connection.execute(update(users).where(*pays_nothing_yet).values(currency=price.currency))
    for user_id in _users_with_other_currency(connection, name, price.currency):
        _use_currency(connection, user_records.require(connection, user_id), price.currency)
    _add_price(connection, name, price)
    return before, require(connection, name)


def assign(connection: Connection, user: str, name: str, *, drops_own: bool = False) -> tuple[User, User]:
    """Give a user a plan. The user's own limits and quotas override the plan's.

    Args:
        connection: a connection in a write transaction.
        user: the user's address or id.
        name: the plan.
        drops_own: whether the user's own limits and quotas give way to the plan's.

    Returns:
        The user before and after.

    Raises:
        Refused: there is no such user or plan, the user is erased, or pays in another currency.
    """
    plan = _require_for_change(connection, name)
    before = user_records.require_for_change(connection, user)
    if plan.prices:
        _use_currency(connection, before, plan.prices[0].currency)
    changed: dict[str, Any] = {"plan": name}
    if drops_own:
        changed |= {"has_own_limits": 0, "quotas": None}
    connection.execute(update(users).where(users.c.id == before.user_id).values(changed))
    _keep_hits(connection, users.c.id == before.user_id, before.limits + plan.limits)
    return before, user_records.require(connection, before.user_id)


def unassign(connection: Connection, user: str) -> tuple[User, User]:
    """Take the plan from a user, who has its own limits and quotas from then on. Return the user before and after.

    Raises:
        Refused: there is no such user, or it has no plan.
    """
    before = user_records.require_for_change(connection, user)
    if before.plan is None:
        raise Refused(f"{before.email} has no plan.")
    connection.execute(update(users).where(users.c.id == before.user_id).values(plan=None))
    _keep_hits(connection, users.c.id == before.user_id, before.limits)
    return before, user_records.require(connection, before.user_id)


def _plan(connection: Connection, row: Row[*tuple[Any, ...]]) -> Plan:
    limits = parse_limits(row.limits) if row.limits else ()
    return Plan(row.name, limits, parse_quotas(row.quotas), prices_of(connection, row.name), row.created_us)


def _columns(plan: Plan) -> dict[str, str | None]:
    user_records.check_length(plan.limits)
    return {"limits": write_limits(plan.limits) or None, "quotas": write_quotas(plan.quotas)}


def _change(connection: Connection, plan: Plan) -> None:
    connection.execute(update(plans).where(plans.c.name == plan.name).values(_columns(plan)))


def lock(connection: Connection) -> None:
    """Keep other transactions from creating and changing plans until this one ends."""
    user_records.lock_addresses(connection)


def _require_for_change(connection: Connection, name: str) -> Plan:
    lock(connection)
    return require(connection, name)


def _add_price(connection: Connection, name: str, price: Price) -> None:
    values = {"plan": name, "from_us": price.from_us, "nanos": price.nanos, "currency": price.currency}
    connection.execute(insert(plan_prices).values(values))


def _users_with_other_currency(connection: Connection, name: str, currency: str) -> list[str]:
    """Return the users of a plan who pay in another currency."""
    other = (users.c.plan == name, users.c.currency != currency)
    return list(connection.scalars(select(users.c.id).where(*other).order_by(users.c.id)))


def _use_currency(connection: Connection, user: User, currency: str) -> None:
    """Note the currency in which a user pays. It can change only until the first costs."""
    if user.currency == currency:
        return
    of_user = (usage_rollup.c.user_id == user.user_id, usage_rollup.c.width_s == ALL_TIME)
    cost = connection.scalar(select(func.sum(usage_rollup.c.cost_nanos)).where(*of_user))
    if user.currency is not None and cost:
        raise Refused(f"{user.email} has costs in {user.currency}; a user pays in one currency. Create another user.")
    connection.execute(update(users).where(users.c.id == user.user_id).values(currency=currency))


def _keep_hits(connection: Connection, whose: Any, limits: tuple[Limit, ...]) -> None:
    """Keep the hits of users for the windows of these limits, so that none is missing after another change."""
    if limits:
        longest_s = kept_s(limits)
        shorter = users.c.hits_kept_s < longest_s
        connection.execute(update(users).where(whose, shorter).values(hits_kept_s=longest_s))
