"""Who calls, kept in the request's ASGI scope: set by authentication, read by the limit, the log and the routes."""

from starlette.types import Scope

from storage.keys import KeyRecord

SCOPES = ("classify", "usage", "metrics")
DEFAULT_SCOPES = frozenset({"classify", "usage"})


def set_caller(scope: Scope, record: KeyRecord) -> None:
    """Note the key that the request came with, after it was checked."""
    scope["state"]["caller"] = record


def caller(scope: Scope) -> KeyRecord | None:
    """The key that the request came with; None where it came without, or with a wrong one."""
    record = scope["state"].get("caller")
    assert record is None or isinstance(record, KeyRecord)
    return record


def user(scope: Scope) -> str:
    """The id of the user who calls, once authentication has let the request through."""
    record = caller(scope)
    assert record is not None, "authentication stands before whatever asks for the user"
    return record.user_id


def charge(scope: Scope, images: int) -> None:
    """Note what the request cost its user's limit."""
    scope["state"]["images"] = images


def charged(scope: Scope) -> int:
    """What the request cost its user's limit, in images; 0 where it was not admitted, or costs nothing."""
    return int(scope["state"].get("images", 0))
