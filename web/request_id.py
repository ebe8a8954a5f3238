"""The ids of a request: one that the caller may choose, one that the ledger can rely on."""

import re
import secrets
import time
from contextvars import ContextVar

from starlette.types import Scope

# The id of the request that is being answered, for what is logged on the way; empty outside of requests.
current: ContextVar[str] = ContextVar("request_id", default="")

_CALLERS_OWN = re.compile(rb"[A-Za-z0-9._:~-]{1,128}")
# A key (see `auth/api_key.py`), with its prefix or without: an id is logged, and a key must not be.
_HOLDS_A_KEY = re.compile(rb"imc_[0-9a-z]|[0-9a-z]{12}_[0-9a-z]{38}", re.IGNORECASE)


def chosen_by_caller(scope: Scope) -> str | None:
    """The id that the caller sent in `X-Request-ID`, where it sent a valid one."""
    own = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
    return own.decode() if own and _may_be_shown(own) else None


def _may_be_shown(own: bytes) -> bool:
    return _CALLERS_OWN.fullmatch(own) is not None and _HOLDS_A_KEY.search(own) is None


def new() -> str:
    """A new id, unique."""
    # Ids that grow with time keep the ledger's index compact: a new row goes to its end.
    return f"req_{time.time_ns() // 1_000_000:011x}{secrets.token_hex(8)}"
