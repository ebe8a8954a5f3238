"""The scopes of API keys, and the key of a request after authentication has checked it."""

from starlette.types import Scope

from storage.key_record import KeyRecord
from web import context

SCOPES = ("classify", "usage", "keys", "metrics", "admin")
DEFAULT_SCOPES = frozenset({"classify", "usage"})


def caller(scope: Scope) -> KeyRecord:
    """Return the API key of the request; only for code behind authentication."""
    record = context.of(scope).caller
    assert isinstance(record, KeyRecord), "the caller is known only behind authentication"
    return record
