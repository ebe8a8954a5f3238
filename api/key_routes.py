"""The routes with which users manage their own keys."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request

from api import changes
from api.json_route import JsonRoute
from api.key_schemas import Key, Keys, NewKey, Rotation
from api.requests import JSON, content_type, parse_json, read_body
from auth import identity
from auth.api_key import ApiKey
from storage.clock import MICROSECONDS
from storage.key_record import KeyRecord
from storage.keys import find, of_user
from storage.store import Store
from web.problem import Problem


def routes(store: Store) -> list[JsonRoute]:
    """Return the routes of the caller's own keys.

    Args:
        store: holds the keys.
    """

    async def list_keys(request: Request) -> Keys:
        """All your keys, the oldest first, without their secrets."""
        caller = identity.caller(request.scope)
        found = await store.ask(lambda connection: of_user(connection, caller.user_id))
        return Keys(data=[Key(**described(key, store.now_us())) for key in found])

    async def rotate_key(request: Request) -> NewKey:
        """Replace a key by a new one with the same name, scopes and expiry. The secret is shown only this once."""
        grace_s = (await read_rotation(request)).grace
        caller, key_id, key = identity.caller(request.scope), request.path_params["id"], ApiKey.generate()
        change = partial(_rotate, caller=caller, key_id=key_id, key=key, grace_s=grace_s)
        return made_key(await changes.make(store, request, change), key)

    async def revoke_key(request: Request) -> None:
        """Revoke a key. When this is answered, the key is refused everywhere. To revoke it again changes nothing."""
        caller, key_id = identity.caller(request.scope), request.path_params["id"]
        await changes.make(store, request, partial(_revoke, caller=caller, key_id=key_id))

    async def revoke_own_key(request: Request) -> None:
        """Revoke the key that this request is sent with. When this is answered, it is refused everywhere."""
        caller = identity.caller(request.scope)
        await changes.make(store, request, partial(_revoke, caller=caller, key_id=caller.key_id))

    return [
        JsonRoute("/v2/keys", list_keys, Keys),
        JsonRoute("/v2/keys/self", revoke_own_key, None, method="DELETE"),
        JsonRoute("/v2/keys/{id}", revoke_key, None, method="DELETE"),
        JsonRoute("/v2/keys/{id}/rotate", rotate_key, NewKey, method="POST", body=Rotation),
    ]


def _rotate(connection: Any, actor: str, caller: KeyRecord, key_id: str, key: ApiKey, grace_s: int) -> KeyRecord:
    old = _own(connection, caller, key_id)
    changes.check_scopes(caller, old.scopes & changes.OF_THE_SERVICE, "ask the operator to rotate it")
    return changes.rotate(connection, old, key, grace_s, actor)


def _revoke(connection: Any, actor: str, caller: KeyRecord, key_id: str) -> None:
    changes.revoke(connection, _own(connection, caller, key_id), actor)


def _own(connection: Any, caller: KeyRecord, key_id: str) -> KeyRecord:
    """Return the key.

    Raises:
        Problem: 404, there is no such key, or it is another user's: callers must not be able to tell these apart.
    """
    found = find(connection, key_id)
    if found is None or found.user_id != caller.user_id:
        raise Problem(404, "You have no key of this id; GET /v2/keys lists yours.")
    return found


async def read_rotation(request: Request) -> Rotation:
    """Return the body of a request to rotate a key; it may be left out.

    Raises:
        Problem: 400, 413, 415, 422.
    """
    body = await read_body(request)
    if not body:
        return Rotation()
    content_type(request, JSON)
    return parse_json(body, Rotation)


def made_key(made: KeyRecord, key: ApiKey) -> NewKey:
    """Return a new key with its secret, which is shown only in this answer."""
    return NewKey(
        user_id=made.user_id,
        key_id=made.key_id,
        key=key.reveal(),
        limits=[str(limit) for limit in made.limits],
        scopes=sorted(made.scopes),
        expires_at=utc(made.expires_us),
    )


def described(key: KeyRecord, now_us: int) -> dict[str, Any]:
    """Return the fields of `Key`."""
    return {
        "key_id": key.key_id,
        "name": key.name,
        "state": key.state(now_us),
        "scopes": sorted(key.scopes),
        "created_at": utc(key.created_us),
        "last_used_at": utc(key.last_used_us),
        "expires_at": utc(key.expires_us),
        "revoked_at": utc(key.revoked_us),
        "replaced_by": key.replaced_by,
    }


def utc(unix_us: int | None) -> datetime | None:
    """Return a time, Unix microseconds, to the second; None for None."""
    return None if unix_us is None else datetime.fromtimestamp(unix_us // MICROSECONDS, UTC)
