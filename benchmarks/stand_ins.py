"""Stand-ins for removed layers of the service: each does only what the inner layers need."""

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from auth import identity
from storage.clock import unix_us
from storage.key_record import KeyRecord
from web import context
from web.matching import restore_path

CALLER = KeyRecord(
    key_id="bench",
    user_id="bench",
    email="bench@example.org",
    secret_sha256="",
    scopes=identity.DEFAULT_SCOPES,
    limits=(),
    created_us=unix_us(),
    expires_us=None,
    revoked_us=None,
    hits_kept_s=0,
)


class FixedCaller:
    """Replaces `Authentication`: every request is from the same user."""

    def __init__(self, app: ASGIApp, **_options: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            context.of(scope).caller = CALLER
        await self.app(scope, receive, send)


class FixedRequestId:
    """Replaces `Envelope`: every request has the same id, and answers are not changed."""

    def __init__(self, app: ASGIApp, **_options: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = restore_path(scope)
            context.of(scope).request_id = context.of(scope).usage_id = "req_0"
        await self.app(scope, receive, send)
