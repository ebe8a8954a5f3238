"""Makes changes of users and keys for the key that a request is sent with. They are audited with its id and address."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from starlette.requests import Request

from auth import identity
from auth.api_key import ApiKey
from auth.authentication import wrong_key
from auth.client_address import client_of
from storage import key_changes, last_admin
from storage.clock import unix_us
from storage.errors import Refused
from storage.key_record import KeyRecord
from storage.keys import find
from storage.store import Store
from web.problem import Problem

T = TypeVar("T")
# Makes a change, given a connection in a write transaction and the actor for the audit log.
Change = Callable[[Any, str], T]

# What a key may do for the service, not for its user. Whoever lacks it must not get it through another key.
OF_THE_SERVICE = frozenset({"metrics", "admin"})


async def make(store: Store, request: Request, change: Change[T], *, changes_keys: bool = True) -> T:
    """Make a change in a transaction, and return its result. A key with the scope `admin` must still be there after it.

    Args:
        store: holds users and keys.
        request: the request for the change.
        change: makes the change; what it raises undoes it.
        changes_keys: whether workers may have cached what is changed. If so, this waits half a second, until no worker
            uses the old state.

    Raises:
        Problem: 401, the calling key is not live any more; 409, the change is refused; or `change` raised it.
    """
    caller = identity.caller(request.scope)
    actor = f"key {caller.key_id} from {client_of(request.scope)}"

    def change_checked(connection: Any) -> T:
        last_admin.lock(connection)
        # Authentication accepts a key for half a second after its end. In that time it must change nothing.
        calling = find(connection, caller.key_id)
        if calling is None or not calling.is_live(store.now_us()):
            raise wrong_key()
        return last_admin.keep(connection, store.now_us(), lambda: change(connection, actor))

    try:
        return await store.change(change_checked, changes_keys=changes_keys)
    except Refused as refused:
        raise Problem(409, str(refused)) from None


def rotate(connection: Any, old: KeyRecord, key: ApiKey, grace_s: int, actor: str) -> KeyRecord:
    """Replace a key by a new one with the same name, scopes and expiry, and return the new one.

    Args:
        connection: a connection in a write transaction.
        old: the key to replace.
        key: the new key.
        grace_s: how long the old key still works, seconds.
        actor: who makes the change.

    Raises:
        Refused: the key is revoked, expired or was rotated before; its user is disabled; or it is the last one with the
            scope `admin`, and would end before its owner has the answer.
    """
    if grace_s == 0:
        last_admin.check_rotation(connection, unix_us(), old.key_id)
    return key_changes.rotate(connection, old.key_id, key.key_id, key.secret_sha256(), grace_s, actor)


def revoke(connection: Any, found: KeyRecord, actor: str) -> None:
    """Revoke a key. To revoke a revoked key changes nothing: a retry after a lost answer must not fail."""
    if found.revoked_us is None:
        key_changes.revoke(connection, found.key_id, actor)


def check_scopes(caller: KeyRecord, given: Iterable[str], what_to_do: str) -> None:
    """Check that a key has the scopes that it is about to give to another key.

    Args:
        caller: the key.
        given: the scopes that the other key gets.
        what_to_do: the end of the sentence that a refused caller reads.

    Raises:
        Problem: 403, names the first scope that the key lacks.
    """
    beyond = sorted(set(given) - caller.scopes)
    if beyond:
        raise Problem(403, f"Your key can't give the scope '{beyond[0]}', which it lacks; {what_to_do}.")
