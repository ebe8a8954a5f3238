"""The routes with which operators manage users."""

from typing import Any

from starlette.requests import Request

from api import changes
from api.admin.schemas import NewUser, User, UserChange, Users, UsersQuery
from api.json_route import JsonRoute, check_if_match, read_query
from api.key_routes import utc
from api.requests import JSON, content_type, read_json
from auth import inputs
from storage import listings, user_changes, users
from storage.clock import unix_us
from storage.errors import Refused
from storage.listings import Page
from storage.policy import Limit
from storage.store import Store
from web.problem import Problem

PATH = "/v2/admin/users"


def routes(store: Store, default_limits: tuple[Limit, ...]) -> list[JsonRoute]:
    """Return the routes.

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
        limits = default_limits if body.limits is None else inputs.limits(body.limits)

        def create(connection: Any, actor: str) -> users.User:
            return user_changes.create(connection, body.email, limits, store.now_us(), actor)

        return described(await changes.make(store, request, create, changes_keys=False))

    async def get_user(request: Request) -> User:
        """One user."""
        return described(await store.ask(lambda connection: of_path(connection, request)))

    async def change_user(request: Request) -> User:
        """Change the address, the limits or the state of a user. With `If-Match` only if nobody else did meanwhile."""
        content_type(request, JSON)
        body = await read_json(request, UserChange)

        def change(connection: Any, actor: str) -> users.User:
            return _change(connection, request, body, store.now_us(), actor)

        return described(await changes.make(store, request, change))

    async def erase_user(request: Request) -> None:
        """Remove a user's address and keys for good. The usage stays under the user's id."""
        await changes.make(
            store, request, lambda connection, actor: _erase(of_path(connection, request), connection, actor)
        )

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
        JsonRoute(one, erase_user, None, method="DELETE"),
    ]


def _change(connection: Any, request: Request, body: UserChange, now_us: int, actor: str) -> users.User:
    """Make each change that the body names, and that is one.

    Raises:
        Problem: 404, 412.
        Refused: the user is erased, or another user has the address.
    """
    # In the order in which a rename takes these locks, which prevents a deadlock.
    users.lock_addresses(connection)
    user = users.require_for_change(connection, of_path(connection, request).user_id)
    check_if_match(request, lambda: described(user))
    if body.email is not None and body.email != user.email:
        _, user = user_changes.rename(connection, user.user_id, body.email, actor)
    if body.limits is not None and inputs.limits(body.limits) != user.limits:
        user = user_changes.set_limits(connection, user.user_id, inputs.limits(body.limits), actor)
    if body.disabled is not None and body.disabled != (user.disabled_us is not None):
        if body.disabled:
            return user_changes.disable(connection, user.user_id, now_us, actor)
        return user_changes.enable(connection, user.user_id, actor)
    return user


def _erase(user: users.User, connection: Any, actor: str) -> None:
    # A retry after a lost answer must not fail.
    if not user.is_erased:
        user_changes.erase(connection, user.user_id, unix_us(), actor)


def of_path(connection: Any, request: Request) -> users.User:
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


def described(user: users.User) -> User:
    """Return a user as it is answered."""
    return User(
        user_id=user.user_id,
        email=user.email,
        state=user.state,
        limits=[str(limit) for limit in user.limits],
        created_at=utc(user.created_us),
        disabled_at=utc(user.disabled_us),
    )
