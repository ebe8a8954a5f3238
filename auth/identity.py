"""Who calls: the scopes of API keys, and the key of a request once authentication has checked it."""

from starlette.types import Scope

from storage.keys import KeyRecord
from web import context

SCOPES = ("classify", "usage", "metrics")
DEFAULT_SCOPES = frozenset({"classify", "usage"})


def caller(scope: Scope) -> KeyRecord:
    """The key that the request came with; for what stands behind authentication."""
    record = context.of(scope).caller
    assert isinstance(record, KeyRecord), "authentication stands before whatever asks for the caller"
    return record
