"""Writes one log line for each request: method, path, status, duration and request id."""

import logging
import time

from starlette.types import Message, Scope

from web import context

logger = logging.getLogger("bentoml.access")

# Probes and scrapers call these every few seconds, and nobody needs to see that.
_UNLOGGED = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})


class AccessLogLine:
    """The log line of one request. Its duration is measured from when this object is made.

    Args:
        scope: the request's ASGI scope, with its context.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._started = time.perf_counter()

    def write(self, start: Message) -> None:
        """Write the line.

        Args:
            start: the ASGI message that starts the answer.
        """
        request = context.of(self._scope)
        name = request.match.name
        if name in _UNLOGGED:
            return
        elapsed_ms = (time.perf_counter() - self._started) * 1000
        fields = {"method": self._scope["method"], "path": name, "status": start["status"], "ms": round(elapsed_ms, 1)}
        extra = {"fields": {**fields, "request_id": request.request_id}}
        logger.info("%s %s %s %.1f ms %s", *fields.values(), request.request_id, extra=extra)
