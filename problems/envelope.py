"""The outermost middleware: every request has an id, and every error, whoever made it, leaves as a problem."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from problems import request_id, routes
from problems.access_log import AccessLine
from problems.problem import MEDIA_TYPE, Problem, bug, translated


class Envelope:
    """Catches what is raised below it: BentoML would leave the caller waiting until its own time limit."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        scope = routes.restore(scope)
        if scope["type"] == "websocket":
            return await self.app(scope, receive, send)
        request_id.assign(scope)
        outgoing = _Outgoing(send, request_id.shown(scope), AccessLine(scope))
        try:
            await self.app(scope, receive, outgoing)
        except Exception as error:
            if outgoing.started:
                raise
            outgoing.problem = error if isinstance(error, Problem) else bug(error)
        if outgoing.problem is not None:
            response = outgoing.problem.response(request_id.shown(scope))
            await response(scope, receive, outgoing)


class _Outgoing:
    """Passes an answer on with its request id, and holds back one that is an error but no problem yet."""

    def __init__(self, send: Send, shown_id: str, line: AccessLine) -> None:
        self._send = send
        self._shown_id = shown_id
        self._line = line
        self.started = False
        self.problem: Problem | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": list(message["headers"])}
            headers = MutableHeaders(raw=message["headers"])
            if message["status"] >= 400 and headers.get("content-type") != MEDIA_TYPE:
                self.problem = translated(message["status"], dict(Headers(raw=message["headers"])))
                return
            headers["X-Request-ID"] = self._shown_id
            self.started = True
            self._line.write(message)
        if self.started:
            await self._send(message)
