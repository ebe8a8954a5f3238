"""The routes with which operators manage plans. A user gets a plan by PATCH of the user."""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request

from api import changes
from api.admin.schemas import NewPlan, Plan, PlanChange, PlanPrice, Plans, PlansQuery
from api.json_route import JsonRoute, check_if_match, read_query
from api.key_routes import utc
from api.requests import JSON, content_type, read_json
from auth import inputs
from storage import listings, plan_changes, plans
from storage.clock import LAST_SECOND, MICROSECONDS
from storage.errors import Refused
from storage.listings import Page
from storage.prices import Price, parse_amount
from storage.store import Store
from web.problem import Problem

PATH = "/v2/admin/plans"


def routes(store: Store) -> list[JsonRoute]:
    """Return the routes of plans.

    Args:
        store: holds the plans.
    """

    async def list_plans(request: Request) -> Plans:
        """All plans, by name, page by page."""
        query = read_query(request, PlansQuery)
        page = Page(query.cursor, query.limit)
        found, after = await store.ask(lambda connection: listings.page_of_plans(connection, page))
        return Plans(data=[_described(plan) for plan in found], next_cursor=after)

    async def create_plan(request: Request) -> Plan:
        """Create a plan. Give it to a user by PATCH of the user."""
        content_type(request, JSON)
        body = await read_json(request, NewPlan)
        price = _price(body, store.now_us())
        new = plans.Plan(
            body.name,
            inputs.limits(body.limits or ()),
            inputs.quotas(body.quotas or ()),
            () if price is None else (price,),
            store.now_us(),
        )

        def create(connection: Any, actor: str) -> plans.Plan:
            plans.lock(connection)
            if plans.find(connection, new.name) is not None:
                raise Refused(f"There is a plan {new.name} already; GET {PATH}/{new.name} shows it.")
            return plan_changes.create(connection, new, actor)

        return _described(await changes.make(store, request, create, changes_keys=False))

    async def get_plan(request: Request) -> Plan:
        """One plan, with all its prices."""
        return _described(await store.ask(lambda connection: _of_path(connection, request)))

    async def change_plan(request: Request) -> Plan:
        """Change a plan for all its users, or add a price. With `If-Match`, only if it was not changed meanwhile."""
        content_type(request, JSON)
        body = await read_json(request, PlanChange)
        change = partial(_change, request=request, body=body, clock_us=store.now_us)
        return _described(await changes.make(store, request, change))

    one = f"{PATH}/{{name}}"
    return [
        JsonRoute(PATH, list_plans, Plans, PlansQuery),
        JsonRoute(PATH, create_plan, Plan, method="POST", body=NewPlan, needs_body=True, location=one),
        JsonRoute(one, get_plan, Plan, has_etag=True),
        JsonRoute(
            one,
            change_plan,
            Plan,
            method="PATCH",
            body=PlanChange,
            needs_body=True,
            has_etag=True,
            takes_if_match=True,
        ),
    ]


def _change(connection: Any, actor: str, request: Request, body: PlanChange, clock_us: Callable[[], int]) -> plans.Plan:
    """Make the changes that the body names, except those that would change nothing.

    Raises:
        Problem: 404, there is no such plan; 412, it was changed meanwhile; 422, the price is incomplete or wrong.
        Refused: see `plans.set_price`.
    """
    # The lock may have to wait for other changes. The time is read then, so that a price begins in the future.
    plans.lock(connection)
    now_us = clock_us()
    price = _price(body, now_us + plan_changes.BEGINS_AFTER_US)
    plan = _of_path(connection, request)
    check_if_match(request, lambda: _described(plan))
    if body.limits is not None and inputs.limits(body.limits) != plan.limits:
        plan = plan_changes.set_limits(connection, plan.name, inputs.limits(body.limits), actor)
    if body.quotas is not None and inputs.quotas(body.quotas) != plan.quotas:
        plan = plan_changes.set_quotas(connection, plan.name, inputs.quotas(body.quotas), actor)
    if price is not None:
        plan = plan_changes.set_price(connection, plan.name, price, now_us, actor)
    return plan


def _price(body: PlanChange, default_us: int) -> Price | None:
    """Return the price that the body names; None if it names none.

    Args:
        body: the body.
        default_us: when the price begins if the body does not say so, Unix microseconds.

    Raises:
        Problem: 422, a part of it is missing, or the time at which it begins is out of range.
    """
    given = {"price", "currency", "since"} & body.model_fields_set
    if not given:
        return None
    for name in ("price", "currency"):
        if name not in given:
            detail = f"The field '{name}' is missing: 'price' and 'currency' belong together, and 'from' to both."
            raise Problem(422, detail, field=name)
    if "since" not in given:
        return Price(parse_amount(body.price), body.currency, default_us)
    from_us = int(body.since.timestamp() * MICROSECONDS)
    if not 0 <= from_us // MICROSECONDS <= LAST_SECOND:
        raise Problem(422, "The field 'from' is wrong: write a time from 1970 to 9999, in UTC.", field="from")
    return Price(parse_amount(body.price), body.currency, from_us)


def _of_path(connection: Any, request: Request) -> plans.Plan:
    """Return the plan whose name the path has.

    Raises:
        Problem: 404, there is no such plan.
    """
    found = plans.find(connection, request.path_params["name"])
    if found is None:
        raise Problem(404, f"There is no plan of this name; GET {PATH} lists all.")
    return found


def _described(plan: plans.Plan) -> Plan:
    return Plan(
        name=plan.name,
        limits=[str(limit) for limit in plan.limits],
        quotas=[str(quota) for quota in plan.quotas],
        prices=[PlanPrice(price=one.per_1000, currency=one.currency, since=utc(one.from_us)) for one in plan.prices],
        created_at=utc(plan.created_us),
    )
