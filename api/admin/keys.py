"""The routes with which operators manage the keys of all users."""

from functools import partial
from typing import Any

from starlette.requests import Request

from api import changes
from api.admin.schemas import KeyOrder, KeysQuery, UsersKey, UsersKeys
from api.admin.users import wrong_cursor
from api.json_route import JsonRoute, check_if_match, read_query
from api.key_routes import described, made_key, read_rotation
from api.key_schemas import NewKey, Rotation
from api.requests import JSON, content_type, read_json
from auth import identity, inputs
from auth.api_key import ApiKey
from auth.identity import DEFAULT_SCOPES
from storage import key_changes, keys, listings, user_record, users
from storage.clock import MICROSECONDS
from storage.errors import Refused
from storage.key_record import KeyRecord
from storage.listings import Page
from storage.policy import Limit
from storage.store import Store
from web.problem import Problem

PATH = "/v2/admin/keys"
_LOCATION = f"{PATH}/{{key_id}}"
_GIVE_FEWER = "leave it out, or ask with a key that has it"


def routes(store: Store, default_limits: tuple[Limit, ...]) -> list[JsonRoute]:
    """Return the routes of all users' keys.

    Args:
        store: holds the keys.
        default_limits: the limits of a user that is created with its key, if the request names none.
    """

    async def list_all_keys(request: Request) -> UsersKeys:
        """The keys of all users, the oldest first, page by page, without their secrets."""
        query, now_us = read_query(request, KeysQuery), store.now_us()
        page = Page(query.cursor, query.limit)
        try:
            found, after = await store.ask(
                lambda connection: listings.page_of_keys(connection, page, query.user, query.state, now_us)
            )
        except Refused as refused:
            raise wrong_cursor(refused) from None
        return UsersKeys(data=[_described(key, now_us) for key in found], next_cursor=after)

    async def create_key(request: Request) -> NewKey:
        """Create a key, and its user if no user has the address `email`. The secret is shown only this once."""
        order, key = await _read_order(request), ApiKey.generate()
        scopes = DEFAULT_SCOPES if order.scopes is None else inputs.scopes(order.scopes)
        # Without `scopes`, a key has what every user's key has: that gives no right away.
        changes.check_scopes(identity.caller(request.scope), order.scopes or (), _GIVE_FEWER)

        def create(connection: Any, actor: str) -> KeyRecord:
            name, now_us = _user_of(connection, order), store.now_us()
            expires_us = None if order.expires_in is None else now_us + order.expires_in * MICROSECONDS
            limits = None if order.limits is None else inputs.limits(order.limits)
            quotas = None if order.quotas is None else inputs.quotas(order.quotas)
            hashed = key.secret_sha256()
            known = (name, limits, default_limits, key.key_id, hashed, scopes, now_us, expires_us, order.name, quotas)
            return key_changes.create(connection, keys.NewKey(*known), actor)

        return made_key(await changes.make(store, request, create, changes_keys=False), key)

    async def get_key(request: Request) -> UsersKey:
        """One key, without its secret."""
        found = await store.ask(lambda connection: _of_path(connection, request))
        return _described(found, store.now_us())

    async def rotate_any_key(request: Request) -> NewKey:
        """Replace a key by a new one with the same name, scopes and expiry. The secret is shown only this once."""
        grace_s, key = (await read_rotation(request)).grace, ApiKey.generate()

        def rotate(connection: Any, actor: str) -> KeyRecord:
            old = _of_path(connection, request)
            given = old.scopes - DEFAULT_SCOPES
            changes.check_scopes(identity.caller(request.scope), given, "rotate it with a key that has it")
            _check_enabled(users.require(connection, old.user_id))
            return changes.rotate(connection, old, key, grace_s, actor)

        return made_key(await changes.make(store, request, rotate), key)

    async def revoke_any_key(request: Request) -> None:
        """Revoke a key: it is then refused everywhere. Once more changes nothing. `If-Match`: only if unchanged."""
        await changes.make(store, request, partial(_revoke, request=request, now_us=store.now_us()))

    one = f"{PATH}/{{id}}"
    return [
        JsonRoute(PATH, list_all_keys, UsersKeys, KeysQuery),
        JsonRoute(PATH, create_key, NewKey, method="POST", body=KeyOrder, needs_body=True, location=_LOCATION),
        JsonRoute(one, get_key, UsersKey, has_etag=True),
        JsonRoute(f"{one}/rotate", rotate_any_key, NewKey, method="POST", body=Rotation, location=_LOCATION),
        JsonRoute(one, revoke_any_key, None, method="DELETE", takes_if_match=True),
    ]


async def _read_order(request: Request) -> KeyOrder:
    """Return the body of a request to create a key.

    Raises:
        Problem: 400, 413, 415, 422.
    """
    content_type(request, JSON)
    order = await read_json(request, KeyOrder)
    if (order.user_id is None) == (order.email is None):
        raise Problem(422, "Name the user by 'email' or by 'user_id', and not by both.", field="email")
    return order


def _user_of(connection: Any, order: KeyOrder) -> str:
    """Return the address or the id of the user that the key is for.

    Raises:
        Problem: 422, there is no user of this id.
        Refused: the user can have no new key, or has other limits.
    """
    name: str = order.email if order.user_id is None else order.user_id
    user = users.find(connection, name)
    if user is None:
        if order.email is None:
            raise Problem(422, "The field 'user_id' is wrong: there is no such user.", field="user_id")
        return name
    if user.is_erased:
        raise Refused(f"The user {user.user_id} is erased.")
    _check_enabled(user)
    if order.limits is not None and inputs.limits(order.limits) != user.limits:
        raise Refused("The user exists with other limits; leave 'limits' out, or PATCH the user.")
    if order.quotas is not None and inputs.quotas(order.quotas) != user.quotas:
        raise Refused("The user exists with other quotas; leave 'quotas' out, or PATCH the user.")
    return name


def _check_enabled(user: user_record.User) -> None:
    if user.disabled_us is not None:
        raise Refused('The user is disabled; PATCH the user with {"disabled": false} first.')


def _revoke(connection: Any, actor: str, request: Request, now_us: int) -> None:
    found = _of_path(connection, request)
    # A retry after a lost answer must not fail.
    if found.revoked_us is None:
        check_if_match(request, lambda: _described(found, now_us))
        changes.revoke(connection, found, actor)


def _of_path(connection: Any, request: Request) -> KeyRecord:
    """Return the key whose id the path has.

    Raises:
        Problem: 404, there is no such key.
    """
    found = keys.find(connection, request.path_params["id"])
    if found is None:
        raise Problem(404, f"There is no key of this id; GET {PATH} lists all.")
    return found


def _described(key: KeyRecord, now_us: int) -> UsersKey:
    return UsersKey(
        **described(key, now_us),
        user_id=key.user_id,
        email=key.email,
        limits=[str(limit) for limit in key.limits],
        quotas=[str(quota) for quota in key.quotas],
        plan=key.plan,
    )
