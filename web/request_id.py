"""The two ids of a request: one that the caller may choose, and a unique one for the usage log."""

import re
import secrets
import time
from contextvars import ContextVar

from starlette.types import Scope

# The id of the current request, for log messages; empty outside of requests.
current: ContextVar[str] = ContextVar("request_id", default="")

_VALID = re.compile(rb"[A-Za-z0-9._:~-]{1,128}")
# An API key (see `auth/api_key.py`), with or without its prefix: ids are logged, and keys must not be.
_API_KEY = re.compile(rb"imc_[0-9a-z]|[0-9a-z]{12}_[0-9a-z]{38}", re.IGNORECASE)


def chosen_by_caller(scope: Scope) -> str | None:
    """Return the id in the header `X-Request-ID`; None if there is none, or it is invalid, or holds an API key."""
    sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
    return sent.decode() if sent and _may_be_logged(sent) else None


def _may_be_logged(sent: bytes) -> bool:
    return _VALID.fullmatch(sent) is not None and _API_KEY.search(sent) is None


def new() -> str:
    """Return a new, unique id."""
    # Ids grow with time, so a new row of the usage log goes to the end of its index, which keeps the index small.
    return f"req_{time.time_ns() // 1_000_000:011x}{secrets.token_hex(8)}"
