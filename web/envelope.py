"""The outermost middleware: gives each request an id, and turns each error, whoever made it, into a problem."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web import context, request_id, security_headers
from web.access_log import AccessLogLine
from web.matching import restore_path
from web.problem import MEDIA_TYPE, Problem, from_library_error, internal_error

# Headers that are removed from answers. BentoML's `Server` names the software and its version.
_REPLACED = (b"x-request-id", b"server")


class Envelope:
    """Catches all exceptions of the app: BentoML would let the caller wait until the time limit instead.

    Args:
        app: the app that answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope = restore_path(scope)
        _assign_ids(scope)
        outgoing = _Outgoing(scope, send)
        try:
            await self.app(scope, receive, outgoing)
        except Exception as error:
            if outgoing.started:
                raise
            outgoing.problem = error if isinstance(error, Problem) else internal_error(error)
        if outgoing.problem is not None:
            await context.send_problem(outgoing.problem, scope, receive, outgoing)


def _assign_ids(scope: Scope) -> None:
    request = context.of(scope)
    request.usage_id = request_id.new()
    request.request_id = request_id.chosen_by_caller(scope) or request.usage_id
    request_id.current.set(request.request_id)


class _Outgoing:
    """Sends an answer with the request id and the security headers. Holds back an error that is not a problem.

    Attributes:
        started: whether the answer has started.
        problem: the problem to send in place of an error that was held back.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._log_line = AccessLogLine(scope)
        self.started = False
        self.problem: Problem | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            if message["status"] >= 400 and not self._is_of_the_service(headers.get("content-type")):
                self.problem = from_library_error(message["status"], dict(headers))
                return
            message = {**message, "headers": self._complete(headers.raw)}
            self.started = True
            self._log_line.write(message)
        if self.started:
            await self._send(message)

    def _is_of_the_service(self, content_type: str | None) -> bool:
        """Return whether an error with this content type is sent unchanged, since a route of the service made it."""
        route = context.of(self._scope).match.route
        # A client of JSON-RPC needs the id in the error, to know which of its messages failed.
        is_json_rpc = route is not None and route.is_json_rpc and content_type == "application/json"
        return content_type == MEDIA_TYPE or is_json_rpc

    def _complete(self, headers: security_headers.Headers) -> security_headers.Headers:
        own = [(lower, value) for name, value in headers if (lower := name.lower()) not in _REPLACED]
        own.append((b"x-request-id", context.of(self._scope).request_id.encode()))
        has_key = any(name == b"authorization" for name, _ in self._scope["headers"])
        return security_headers.add_to(own, has_key, over_tls=self._scope.get("scheme") == "https")
