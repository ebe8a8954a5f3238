"""The routes with which operators manage users."""

from functools import partial
from typing import Any

from starlette.requests import Request

from api import changes
from api.admin.schemas import NewUser, User, UserChange, Users, UsersQuery
from api.json_route import JsonRoute, check_if_match, read_query
from api.key_routes import utc
from api.requests import JSON, content_type, read_json
from auth import inputs
from storage import customers, listings, plan_changes, plans, user_changes, user_record, users
from storage.clock import MICROSECONDS, unix_us
from storage.errors import Refused
from storage.listings import Page
from storage.policy import Limit
from storage.store import Store
from web.problem import Problem

PATH = "/v2/admin/users"


def routes(store: Store, default_limits: tuple[Limit, ...]) -> list[JsonRoute]:
    """Return the routes of users.

    Args:
        store: holds the users.
        default_limits: the limits of a new user if the request names none.
    """

    async def list_users(request: Request) -> Users:
        """All users, the oldest first, page by page."""
        query = read_query(request, UsersQuery)
        page = Page(query.cursor, query.limit)
        try:
            found, after = await store.ask(lambda connection: listings.page_of_users(connection, page, query.email))
        except Refused as refused:
            raise wrong_cursor(refused) from None
        return Users(data=[described(user) for user in found], next_cursor=after)

    async def create_user(request: Request) -> User:
        """Create a user without a key. To create one with a key, POST to /v2/admin/keys."""
        content_type(request, JSON)
        body = await read_json(request, NewUser)
        create = partial(_create, body=body, default_limits=default_limits, now_us=store.now_us())
        return described(await changes.make(store, request, create, changes_keys=False))

    async def get_user(request: Request) -> User:
        """One user."""
        return described(await store.ask(lambda connection: of_path(connection, request)))

    async def change_user(request: Request) -> User:
        """Change a user: address, limits, quotas, plan, customer, state. With `If-Match`, only if unchanged."""
        content_type(request, JSON)
        body = await read_json(request, UserChange)
        if body.drop_own is not None and body.plan is None:
            raise Problem(422, "The field 'drop_own' is for a new plan; name it in 'plan'.", field="drop_own")
        change = partial(_change, request=request, body=body, now_us=store.now_us())
        return described(await changes.make(store, request, change))

    async def erase_user(request: Request) -> None:
        """Remove a user's address and keys for good; with `If-Match`, only if unchanged. The usage stays."""
        await changes.make(store, request, partial(_erase, request=request))

    one = f"{PATH}/{{id}}"
    return [
        JsonRoute(PATH, list_users, Users, UsersQuery),
        JsonRoute(
            PATH, create_user, User, method="POST", body=NewUser, needs_body=True, location=f"{PATH}/{{user_id}}"
        ),
        JsonRoute(one, get_user, User, has_etag=True),
        JsonRoute(
            one,
            change_user,
            User,
            method="PATCH",
            body=UserChange,
            needs_body=True,
            has_etag=True,
            takes_if_match=True,
        ),
        JsonRoute(one, erase_user, None, method="DELETE", takes_if_match=True),
    ]


def _create(
    connection: Any, actor: str, body: NewUser, default_limits: tuple[Limit, ...], now_us: int
) -> user_record.User:
    return user_changes.create(
        connection,
        body.email,
        default_limits if body.limits is None else inputs.limits(body.limits),
        now_us,
        actor,
        has_own_limits=body.limits is not None,
        quotas=() if body.quotas is None else inputs.quotas(body.quotas),
    )


def _change(connection: Any, actor: str, request: Request, body: UserChange, now_us: int) -> user_record.User:
    """Make the changes that the body names, except those that would change nothing.

    Raises:
        Problem: 404, there is no such user; 412, it was changed meanwhile; 422, there is no such plan.
        Refused: the user is erased, another user has the address, or the user pays in another currency.
    """
    # In the order in which a rename takes these locks, which prevents a deadlock.
    users.lock_addresses(connection)
    user = users.require_for_change(connection, of_path(connection, request).user_id)
    check_if_match(request, lambda: described(user))
    if body.email is not None and body.email != user.email:
        _, user = user_changes.rename(connection, user.user_id, body.email, actor)
    user = _with_plan(connection, actor, user, body)
    user = _with_own(connection, actor, user, body)
    user = _with_customer(connection, actor, user, body, now_us)
    if body.disabled is not None and body.disabled != (user.disabled_us is not None):
        if body.disabled:
            return user_changes.disable(connection, user.user_id, now_us, actor)
        return user_changes.enable(connection, user.user_id, actor)
    return user


def _with_plan(connection: Any, actor: str, user: user_record.User, body: UserChange) -> user_record.User:
    if "plan" not in body.model_fields_set or (body.plan == user.plan and not body.drop_own):
        return user
    if body.plan is None:
        return plan_changes.unassign(connection, user.user_id, actor)
    if plans.find(connection, body.plan) is None:
        raise Problem(422, "The field 'plan' is wrong: there is no such plan.", field="plan")
    return plan_changes.assign(connection, user.user_id, body.plan, actor, drops_own=bool(body.drop_own))


def _with_own(connection: Any, actor: str, user: user_record.User, body: UserChange) -> user_record.User:
    # The user may have had these limits from its plan or by default; as its own, they stay if the plan changes.
    if body.limits is not None and (not user.has_own_limits or inputs.limits(body.limits) != user.limits):
        user = user_changes.set_limits(connection, user.user_id, inputs.limits(body.limits), actor)
    if body.quotas is not None and (user.plan or inputs.quotas(body.quotas) != user.quotas):
        user = user_changes.set_quotas(connection, user.user_id, inputs.quotas(body.quotas), actor)
    return user


def _with_customer(
    connection: Any, actor: str, user: user_record.User, body: UserChange, now_us: int
) -> user_record.User:
    given = {"stripe_customer", "stripe_from"} & body.model_fields_set
    if not given or (body.stripe_customer == user.stripe_customer and "stripe_from" not in given):
        return user
    if "stripe_from" in given and body.stripe_customer is None:
        detail = "The field 'stripe_customer' is missing: 'stripe_from' belongs to it."
        raise Problem(422, detail, field="stripe_customer")
    from_s = None
    if "stripe_from" in given:
        from_s = int(body.stripe_from.timestamp())
        wrong = customers.wrong_hour(from_s, now_us // MICROSECONDS)
        if wrong is not None:
            raise Problem(422, f"The field 'stripe_from' is wrong: {wrong}.", field="stripe_from")
    return customers.assign(connection, user.user_id, body.stripe_customer, from_s, now_us, actor)


def _erase(connection: Any, actor: str, request: Request) -> None:
    user = of_path(connection, request)
    # A retry after a lost answer must not fail.
    if user.is_erased:
        return
    user = users.require_for_change(connection, user.user_id)
    check_if_match(request, lambda: described(user))
    user_changes.erase(connection, user.user_id, unix_us(), actor)


def of_path(connection: Any, request: Request) -> user_record.User:
    """Return the user whose id the path has.

    Raises:
        Problem: 404, there is no such user.
    """
    user_id = request.path_params["id"]
    # By its id alone: an address in a path would be in the logs of every proxy.
    found = None if "@" in user_id else users.find(connection, user_id)
    if found is None:
        raise Problem(404, f"There is no user of this id; GET {PATH} lists all.")
    return found


def wrong_cursor(refused: Refused) -> Problem:
    """Return the 422 for a cursor that belongs to no page."""
    return Problem(422, f"The field 'cursor' is wrong: {refused}.", field="cursor")


def described(user: user_record.User) -> User:
    """Return a user as it is answered."""
    return User(
        user_id=user.user_id,
        email=user.email,
        state=user.state,
        limits=[str(limit) for limit in user.limits],
        quotas=[str(quota) for quota in user.quotas],
        plan=user.plan,
        created_at=utc(user.created_us),
        disabled_at=utc(user.disabled_us),
        stripe_customer=user.stripe_customer,
        stripe_from=None if user.stripe_from_s is None else utc(user.stripe_from_s * MICROSECONDS),
    )
