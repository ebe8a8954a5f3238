"""The routes with which users manage their own keys."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request

from api.json_route import JsonRoute
from api.key_schemas import Key, Keys, NewKey, Rotation
from api.requests import JSON, content_type, parse_json, read_body
from auth import identity
from auth.api_key import ApiKey
from auth.authentication import wrong_key
from auth.client_address import client_of
from storage import key_changes
from storage.clock import unix_us
from storage.errors import Refused
from storage.keys import KeyRecord, find
from storage.policy import parse_seconds
from storage.store import Store
from web.problem import Problem

# What a key may do for the service, not for its user. Whoever lacks it must not get it by rotating another key.
_OF_THE_SERVICE = frozenset({"metrics"})


def routes(store: Store) -> list[JsonRoute]:
    """Return the routes.

    Args:
        store: holds the keys.
    """

    async def list_keys(request: Request) -> Keys:
        """All your keys, the oldest first, without their secrets."""
        found = await store.user_keys(identity.caller(request.scope).user_id)
        return Keys(data=[_described(key, store.now_us()) for key in found])

    async def rotate_key(request: Request) -> NewKey:
        """Replace a key by a new one with the same name, scopes and expiry. The secret is shown only this once."""
        grace_s = _grace_s(await _rotation(request))
        key = ApiKey.generate()
        change = partial(
            _rotate, caller=identity.caller(request.scope), key_id=request.path_params["id"], key=key, grace_s=grace_s
        )
        made = await _changed(store, request, change)
        return NewKey(
            user_id=made.user_id,
            key_id=made.key_id,
            key=key.reveal(),
            limits=[str(limit) for limit in made.limits],
            scopes=sorted(made.scopes),
            expires_at=_time(made.expires_us),
        )

    async def revoke_key(request: Request) -> None:
        """Revoke a key. When this is answered, the key is refused everywhere. To revoke it again changes nothing."""
        caller, key_id = identity.caller(request.scope), request.path_params["id"]
        await _changed(store, request, partial(_revoke, caller=caller, key_id=key_id))

    async def revoke_own_key(request: Request) -> None:
        """Revoke the key that this request is sent with. When this is answered, it is refused everywhere."""
        caller = identity.caller(request.scope)
        await _changed(store, request, partial(_revoke, caller=caller, key_id=caller.key_id))

    return [
        JsonRoute("/v2/keys", list_keys, Keys),
        JsonRoute("/v2/keys/self", revoke_own_key, None, method="DELETE"),
        JsonRoute("/v2/keys/{id}", revoke_key, None, method="DELETE"),
        JsonRoute("/v2/keys/{id}/rotate", rotate_key, NewKey, method="POST", body=Rotation),
    ]


def _rotate(connection: Any, actor: str, caller: KeyRecord, key_id: str, key: ApiKey, grace_s: int) -> KeyRecord:
    old = _own(connection, caller, key_id)
    beyond = sorted((old.scopes & _OF_THE_SERVICE) - caller.scopes)
    if beyond:
        raise Problem(403, f"The key has the scope '{beyond[0]}', which yours lacks; ask the operator to rotate it.")
    return key_changes.rotate(connection, key_id, key.key_id, key.secret_sha256(), grace_s, actor)


def _revoke(connection: Any, actor: str, caller: KeyRecord, key_id: str) -> KeyRecord:
    found = _own(connection, caller, key_id)
    return found if found.revoked_us is not None else key_changes.revoke(connection, key_id, actor)


def _own(connection: Any, caller: KeyRecord, key_id: str) -> KeyRecord:
    """Return the key.

    Raises:
        Problem: 401, the calling key is not live any more; 404, there is no such key, or it is another user's: callers
            must not be able to tell these apart.
    """
    # Authentication accepts a key for half a second after its end. In that time it must not make a new one.
    calling = find(connection, caller.key_id)
    if calling is None or not calling.is_live(unix_us()):
        raise wrong_key()
    found = find(connection, key_id)
    if found is None or found.user_id != caller.user_id:
        raise Problem(404, "You have no key of this id; GET /v2/keys lists yours.")
    return found


async def _changed(store: Store, request: Request, change: Any) -> KeyRecord:
    """Make a change, audited with the id of the calling key and the address of its caller.

    Raises:
        Problem: 401, 403, 404, 409.
    """
    actor = f"key {identity.caller(request.scope).key_id} from {client_of(request.scope)}"
    try:
        return await store.change_key(lambda connection: change(connection, actor))
    except Refused as refused:
        raise Problem(409, str(refused)) from None


async def _rotation(request: Request) -> Rotation:
    """Return the body, which may be left out.

    Raises:
        Problem: 400, 413, 415, 422.
    """
    body = await read_body(request)
    if not body:
        return Rotation()
    content_type(request, JSON)
    return parse_json(body, Rotation)


def _grace_s(rotation: Rotation) -> int:
    """Return for how many seconds the old key still works.

    Raises:
        Problem: 422, it is no time.
    """
    grace = rotation.grace
    if grace in (0, "0", "0s"):
        return 0
    try:
        return parse_seconds(f"{grace}s" if isinstance(grace, int) else grace)
    except ValueError as error:
        raise Problem(422, f"The field 'grace' is wrong: {error}.", field="grace") from None


def _time(unix_us: int | None) -> datetime | None:
    return None if unix_us is None else datetime.fromtimestamp(unix_us // 1_000_000, UTC)


def _described(key: KeyRecord, now_us: int) -> Key:
    return Key(
        key_id=key.key_id,
        name=key.name,
        state=key.state(now_us),
        scopes=sorted(key.scopes),
        created_at=datetime.fromtimestamp(key.created_us // 1_000_000, UTC),
        last_used_at=_time(key.last_used_us),
        expires_at=_time(key.expires_us),
        revoked_at=_time(key.revoked_us),
        replaced_by=key.replaced_by,
    )
