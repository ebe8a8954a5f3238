"""Lets callers send a classification again without paying twice: the header `Idempotency-Key`.

The syntax is that of draft-ietf-httpapi-idempotency-key-header, a string in quotes; the bare text is taken, too.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from auth import identity
from auth.api_key import holds_key
from auth.authentication import scope_missing
from auth.kept_answers import HEADER, replay
from storage.errors import StorageUnavailable
from storage.idempotency import LEASE_S, Claim, KeptAnswer, Outcome, Settlement
from storage.store import Store
from web import context
from web.context import RequestContext
from web.problem import RETRY_SOON_S, Problem, storage_unavailable
from web.routes import Cost

RENEWED_EVERY_S = LEASE_S / 3
MOST_CHARACTERS = 255

_NAME = HEADER.lower().encode()
# A string of RFC 9651 (section 3.3.3), or visible ASCII characters.
_QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(rb"[!#-~][!-~]*")
_ESCAPED = re.compile(rb"\\(.)")
UNDER_WAY = f"A request with this {HEADER} is under way; send this one again shortly to get its answer."
_IS_SECRET = f"The header {HEADER} holds an API key, which is stored nowhere; send another text, such as a UUID."
_MALFORMED = f"Set the header {HEADER} once, to 1 to {MOST_CHARACTERS} visible ASCII characters, such as a UUID."


class Idempotency:
    """Makes a request hold its idempotency key until it is answered. Outside of the rate limit: a retry costs no hit.

    If the key has a kept answer, or another request holds it, this sets `RequestContext.answer_without_hit`, which
    answers the request instead of its route. Otherwise it sets `RequestContext.settlement`, which the usage log commits
    with the request's row.

    Args:
        app: the app behind it; `KeptAnswers` must be in it.
        store: holds the keys and the kept answers.
    """

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app = app
        self.store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        written = [value for name, value in scope["headers"] if name == _NAME] if scope["type"] == "http" else []
        if not written or not _applies(scope):
            return await self.app(scope, receive, send)
        request = context.of(scope)
        try:
            claim, outcome = await self._claim(request, key_in(written))
        except Problem as problem:
            request.answer_without_hit = request.response(problem)
            return await self.app(scope, receive, send)
        if isinstance(outcome, KeptAnswer):
            request.answer_without_hit = replay(outcome)
            return await self.app(scope, receive, send)
        request.settlement = Settlement(claim, answer=None)
        async with self._renewed(claim):
            await self.app(scope, receive, send)

    async def _claim(self, request: RequestContext, key: str) -> tuple[Claim, Outcome | KeptAnswer]:
        try:
            claimed = await self.store.claim(request.user_id, request.match.name, key, request.usage_id)
        except StorageUnavailable as error:
            raise storage_unavailable(error.caller) from None
        if claimed[1] is Outcome.UNDER_WAY:
            raise under_way()
        return claimed

    @asynccontextmanager
    async def _renewed(self, claim: Claim) -> AsyncIterator[None]:
        """Renew the lease of the claim within the block."""
        renewing = asyncio.create_task(self._keep_renewing(claim))
        try:
            yield
        finally:
            renewing.cancel()

    async def _keep_renewing(self, claim: Claim) -> None:
        while True:
            await asyncio.sleep(RENEWED_EVERY_S)
            # The answer is refused if another request takes the key meanwhile, so a lease that is lost does no harm.
            with suppress(StorageUnavailable):
                await self.store.renew_claim(claim)


def _applies(scope: Scope) -> bool:
    """Return whether the request is a classification that its API key may ask for."""
    route = context.of(scope).match.route
    return route is not None and route.cost is not Cost.NOTHING and scope_missing(route, identity.caller(scope)) is None


def key_in(written: Sequence[bytes]) -> str:
    """Return the idempotency key.

    Args:
        written: the values of all headers of that name.

    Raises:
        Problem: 400, there are several headers, or the key is malformed or holds an API key.
    """
    text = written[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = _ESCAPED.sub(rb"\1", quoted[1]) if quoted else text
    is_one = len(written) == 1 and 1 <= len(key) <= MOST_CHARACTERS
    if not is_one or not (quoted or _BARE.fullmatch(key)):
        raise Problem(400, _MALFORMED, field=HEADER)
    found = key.decode("ascii")
    if holds_key(found):
        raise Problem(400, _IS_SECRET, field=HEADER)
    return found


def under_way() -> Problem:
    """Return the 409 for a request whose key another request holds."""
    return Problem(409, UNDER_WAY, {"Retry-After": str(RETRY_SOON_S)}, field=HEADER)
