"""One line in the log for each request: what was asked, what was answered, how long it took, and under which id."""

import logging
import time

from starlette.types import Message, Scope

from web import context

logger = logging.getLogger("bentoml.access")

# Asked every few seconds by machines, and of no interest to anyone.
_UNLOGGED = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})


class AccessLine:
    """The line of one request.

    Args:
        scope: the request's, with its id.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._started = time.perf_counter()

    def write(self, start: Message) -> None:
        """Write it, as the answer starts."""
        request = context.of(self._scope)
        name = request.match.name
        if name in _UNLOGGED:
            return
        took_ms = (time.perf_counter() - self._started) * 1000
        shown = request.request_id
        fields = {"method": self._scope["method"], "path": name, "status": start["status"], "ms": round(took_ms, 1)}
        logger.info("%s %s %s %.1f ms %s", *fields.values(), shown, extra={"fields": {**fields, "request_id": shown}})
