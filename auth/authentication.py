"""Bearer keys (RFC 6750): who calls, and whether the key's scopes cover what is asked."""

import math
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from auth import identity
from auth.failures import FailureLimit, WrongKey
from auth.keys import ApiKey
from problems import request_id
from problems.problem import Problem, database_away
from storage.errors import StorageUnavailable
from storage.keys import KeyRecord
from storage.store import Store


class Authentication:
    """Lets through what is public, and what comes with a live key whose scopes suffice.

    Args:
        app: what lies behind the gate.
        store: where keys are found.
        public: paths open to all; one that ends in `/` opens everything below it.
        scopes: for a path, the scope that its callers' keys need. Other paths take any key.
        failures: how often an address may send a wrong key.
    """

    def __init__(
        self,
        app: ASGIApp,
        store: Store,
        public: frozenset[str],
        scopes: Mapping[str, str],
        failures: FailureLimit,
    ) -> None:
        self.app = app
        self.store = store
        self.failures = failures
        self.open_paths = frozenset(path for path in public if path == "/" or not path.endswith("/"))
        self.open_folders = tuple(path for path in public if path != "/" and path.endswith("/"))
        self.scopes = scopes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_open(scope):
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        try:
            self._admit(scope, await self._identify(scope))
        except StorageUnavailable:
            refusal = database_away()
        except Problem as problem:
            refusal = problem
        else:
            return await self.app(scope, receive, send)
        await refusal.response(request_id.shown(scope))(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return False
        return scope["path"] in self.open_paths or scope["path"].startswith(self.open_folders)

    async def _identify(self, scope: Scope) -> KeyRecord:
        credentials = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        if credentials is None:
            raise Problem(401, _NO_KEY, {"WWW-Authenticate": "Bearer"})
        scheme, _, token = credentials.decode("latin-1").partition(" ")
        key = ApiKey.parse(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise _wrong_key(self.failures.fail(scope))
        try:
            return await self.failures.check(scope, key, self.store)
        except WrongKey as wrong:
            raise _wrong_key(wrong.wait_s) from None

    def _admit(self, scope: Scope, record: KeyRecord) -> None:
        identity.set_caller(scope, record)
        needed = self.scopes.get(scope["path"])
        if needed is not None and needed not in record.scopes:
            raise scope_missing(needed)


_NO_KEY = "Send your API key in the header 'Authorization: Bearer imc_...'."
_NO_LIVE_KEY = "This API key is not valid; check it for typing errors, or ask the operator for a new one."


def _wrong_key(wait_s: float) -> Problem:
    if wait_s > 0:
        seconds = math.ceil(wait_s)
        detail = f"Too many requests with wrong API keys come from your address; wait {seconds} s."
        return Problem(429, detail, {"Retry-After": str(seconds)}, kind="wrong_keys")
    return Problem(401, _NO_LIVE_KEY, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def scope_missing(needed: str) -> Problem:
    """403: the key is good, and does not cover what was asked."""
    detail = f"This API key lacks the scope '{needed}'; ask the operator for a key that has it."
    return Problem(403, detail, {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'})
