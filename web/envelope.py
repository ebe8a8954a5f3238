"""The outermost middleware: every request has an id, and every error, whoever made it, leaves as a problem."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web import context, request_id, security_headers
from web.access_log import AccessLine
from web.matching import restore
from web.problem import MEDIA_TYPE, Problem, bug, translated

# BentoML's own `Server` names the software and its version.
_REPLACED = (b"x-request-id", b"server")


class Envelope:
    """Catches what is raised below it: BentoML would leave the caller waiting until its own time limit."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        scope = restore(scope)
        if scope["type"] == "websocket":
            return await self.app(scope, receive, send)
        _assign_ids(scope)
        outgoing = _Outgoing(scope, send)
        try:
            await self.app(scope, receive, outgoing)
        except Exception as error:
            if outgoing.started:
                raise
            outgoing.problem = error if isinstance(error, Problem) else bug(error)
        if outgoing.problem is not None:
            await context.refuse(outgoing.problem, scope, receive, outgoing)


def _assign_ids(scope: Scope) -> None:
    request = context.of(scope)
    request.usage_id = request_id.new()
    request.request_id = request_id.chosen_by_caller(scope) or request.usage_id
    request_id.current.set(request.request_id)


class _Outgoing:
    """Passes an answer on with its id and policies for browsers, and holds back one that is an error but no problem."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._line = AccessLine(scope)
        self.started = False
        self.problem: Problem | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            if message["status"] >= 400 and headers.get("content-type") != MEDIA_TYPE:
                self.problem = translated(message["status"], dict(headers))
                return
            message = {**message, "headers": self._completed(headers.raw)}
            self.started = True
            self._line.write(message)
        if self.started:
            await self._send(message)

    def _completed(self, headers: security_headers.Headers) -> security_headers.Headers:
        own = [(name.lower(), value) for name, value in headers if name.lower() not in _REPLACED]
        own.append((b"x-request-id", context.of(self._scope).request_id.encode()))
        to_a_key = any(name == b"authorization" for name, _ in self._scope["headers"])
        return security_headers.added(own, to_a_key, over_tls=self._scope.get("scheme") == "https")
