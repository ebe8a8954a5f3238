"""Checks the API key of each request (a bearer token, RFC 6750) and its scopes."""

import asyncio
import math

from starlette.types import ASGIApp, Receive, Scope, Send

from auth.api_key import ApiKey
from auth.failed_logins import FailureLimit, WrongKey
from storage.errors import StorageUnavailable
from storage.key_record import KeyRecord
from storage.store import Store
from web import context
from web.problem import Problem, storage_unavailable
from web.routes import Cost, Route

# While the database is away, a route that outlasts it accepts a key that the database confirmed at most this long ago.
RECENTLY_VALID_S = 300.0
# How long such a route waits for the database before it accepts the key. Prometheus waits 10 s for a whole scrape.
CONFIRMED_WITHIN_S = 2.0


class Authentication:
    """Passes on requests for public routes, and requests with a live key that has the scope of the route.

    Args:
        app: the app behind authentication.
        store: holds the keys.
        failures: limits how often an address may send a wrong key.
    """

    def __init__(self, app: ASGIApp, store: Store, failures: FailureLimit) -> None:
        self.app = app
        self.store = store
        self.failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        try:
            await self._check(scope)
        except StorageUnavailable as error:
            return await context.send_problem(storage_unavailable(error.caller), scope, receive, send)
        except Problem as problem:
            return await context.send_problem(problem, scope, receive, send)
        await self.app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        request = context.of(scope)
        match = request.match
        if match.is_public:
            match.require_route()
            return
        record = await self._identify(scope)
        request.caller = record
        route = match.require_route()
        # For a route that costs hits, the rate limit checks the scope: its error also says what is left of the limits.
        missing = scope_missing(route, record) if route.cost is Cost.NOTHING else None
        if missing is not None:
            raise missing

    async def _identify(self, scope: Scope) -> KeyRecord:
        credentials = {value for name, value in scope["headers"] if name == b"authorization"}
        if not credentials:
            raise Problem(401, _NO_KEY, {"WWW-Authenticate": "Bearer"})
        if len(credentials) > 1:
            # A proxy in front may have checked another one of them than this service would take.
            raise wrong_key(self.failures.fail(scope), _SEVERAL_KEYS)
        scheme, _, token = credentials.pop().decode("latin-1").partition(" ")
        key = ApiKey.parse(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise wrong_key(self.failures.fail(scope))
        known = self._recently_valid(key, context.of(scope).match.route)
        try:
            async with asyncio.timeout(None if known is None else CONFIRMED_WITHIN_S):
                return await self.failures.check(scope, key, self.store)
        except WrongKey as wrong:
            raise wrong_key(wrong.wait_s) from None
        except (StorageUnavailable, TimeoutError):
            if known is None:
                raise
            return known

    def _recently_valid(self, key: ApiKey, route: Route | None) -> KeyRecord | None:
        """Return the key as the database confirmed it recently; None if the route must not accept it without asking."""
        if route is None or not route.outlasts_database:
            return None
        record = self.failures.recently_valid(key, RECENTLY_VALID_S)
        usable = record is not None and route.scope in record.scopes and record.is_live(self.store.now_us())
        return record if usable else None


_NO_KEY = "Send your API key in the header 'Authorization: Bearer imc_...'."
# One text for all cases: callers must not be able to tell an unknown key from a revoked one. A common reason is that
# the environment variable with the key is empty.
_NO_LIVE_KEY = "This API key is not valid; check that it is set and typed right, or ask the operator for a new one."
_SEVERAL_KEYS = "Send your API key once; this request has several values of 'Authorization', which differ."


def wrong_key(wait_s: float = 0, detail: str = _NO_LIVE_KEY) -> Problem:
    """Return the 401 for a key that is not valid, or a 429 if its address has to wait.

    Args:
        wait_s: how long it has to wait, seconds.
        detail: of the 401.
    """
    if wait_s > 0:
        seconds = math.ceil(wait_s)
        detail = f"Too many requests with wrong API keys come from your address; wait {seconds} s."
        return Problem(429, detail, {"Retry-After": str(seconds)}, kind="wrong_keys")
    return Problem(401, detail, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def scope_missing(route: Route, record: KeyRecord) -> Problem | None:
    """Return the 403 for a valid key that lacks the scope of the route; None if it has it."""
    needed = route.scope
    if needed is None or needed in record.scopes:
        return None
    detail = f"This API key lacks the scope '{needed}'; ask the operator for a key that has it."
    return Problem(403, detail, {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'})
