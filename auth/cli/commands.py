"""The commands about keys and the database. The transaction of a change also writes it to the audit log."""

from typing import Any

from auth.api_key import ApiKey
from auth.cli import first_key, reports
from auth.cli.actor import actor
from auth.cli.answer import Answer, Context
from auth.identity import DEFAULT_SCOPES
from storage import key_changes, keys, users
from storage.clock import MICROSECONDS, unix_us
from storage.key_record import KeyRecord
from storage.keys import NewKey
from storage.policy import Limit
from storage.quotas import Quota

FIRST_USER = "first-user@localhost"
FIRST_LIMIT = (Limit(60, 60),)


def create(
    context: Context,
    *,
    user: str,
    name: str | None,
    limit: list[Limit] | None,
    quota: list[Quota] | None,
    scope: list[str] | None,
    expires_in: int | None,
) -> Answer:
    """Create a key, and its user if there is none.

    Args:
        context: what all commands need.
        user: the user's address, or the id of an existing user.
        name: what to call the key; None for no name.
        limit: the limits of the user; None to keep those it has, or for the default ones of a new user.
        quota: the quotas of the user; None to keep those it has, or for none of a new user.
        scope: the scopes of the key; None for the default scopes.
        expires_in: seconds until the key expires; None for a key that does not.
    """
    now_us = unix_us()
    expires_us = None if expires_in is None else now_us + expires_in * MICROSECONDS
    key = ApiKey.generate()
    new = NewKey(
        user,
        tuple(limit) if limit else None,
        context.default_limits,
        key.key_id,
        key.secret_sha256(),
        frozenset(scope) if scope else DEFAULT_SCOPES,
        now_us,
        expires_us,
        name,
        tuple(quota) if quota else None,
    )
    made = context.database.change(lambda connection: key_changes.create(connection, new, actor()))
    return _reveal(key, made)


def init(context: Context) -> Answer:
    """Create a first user with a key if there is no user yet."""
    key = ApiKey.generate()
    first = (FIRST_USER, FIRST_LIMIT, FIRST_LIMIT, key.key_id, key.secret_sha256(), DEFAULT_SCOPES, unix_us(), None)
    new = NewKey(*first)
    made = context.database.change(lambda connection: key_changes.create_first(connection, new, actor()))
    if made is None:
        return Answer({}, first_key.KEPT)
    return _reveal(key, made)


def list_keys(context: Context, *, user: str | None) -> Answer:
    """List all keys, or those of a user."""

    def find(connection: Any) -> list[KeyRecord]:
        if user is None:
            return keys.every(connection)
        return keys.of_user(connection, users.require(connection, user).user_id)

    now_us = unix_us()
    described = [reports.describe(found, now_us) for found in context.database.ask(find)]
    return Answer({"keys": described}, tables=(reports.keys(described),))


def show(context: Context, *, key_or_user: str) -> Answer:
    """Show one key, or a user with its keys."""
    now_us = unix_us()
    if not key_or_user.startswith("usr_") and "@" not in key_or_user:
        key = context.database.ask(lambda connection: keys.require(connection, key_or_user))
        described = reports.describe(key, now_us)
        return Answer(described, tables=(reports.fields(described),))
    owner = context.database.ask(lambda connection: users.require(connection, key_or_user))
    of_user = context.database.ask(lambda connection: keys.of_user(connection, owner.user_id))
    described_user, described_keys = reports.user(owner), [reports.describe(key, now_us) for key in of_user]
    tables = (reports.fields(described_user), reports.keys(described_keys, reports.OF_USER))
    return Answer(described_user | {"keys": described_keys}, tables=tables)


def rotate(context: Context, *, key_id: str, grace: int) -> Answer:
    """Replace a key by a new one with the same name, scopes and expiry. The old key works for `grace` more seconds."""
    key = ApiKey.generate()
    made = context.change_keys(
        lambda connection: key_changes.rotate(connection, key_id, key.key_id, key.secret_sha256(), grace, actor())
    )
    return _reveal(key, made)


def revoke(context: Context, *, key_id: str) -> Answer:
    """Revoke a key."""
    revoked = context.change_keys(lambda connection: key_changes.revoke(connection, key_id, actor()))
    text = f"The key {revoked.key_id} of {revoked.email} is revoked, and refused everywhere."
    return Answer(reports.describe(revoked, unix_us()), text)


def _reveal(key: ApiKey, made: KeyRecord) -> Answer:
    document = reports.created(key.reveal(), made)
    return Answer(document, reports.shown_once(document))
