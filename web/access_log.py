"""Writes one log line for each request: method, path, status, duration and request id."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from starlette.types import Message, Scope

from web import context

logger = logging.getLogger("bentoml.access")

# Probes and scrapers call these every few seconds, and nobody needs to see that.
_UNLOGGED = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})


class AccessLine(NamedTuple):
    """What one line says; `ms` is the duration, milliseconds."""

    method: str
    path: str
    status: int
    ms: float
    request_id: str

    def text(self) -> str:
        """Return the message of the line."""
        return f"{self.method} {self.path} {self.status} {self.ms:.1f} ms {self.request_id}"


def log(line: AccessLine) -> None:
    """Write a line by Python's `logging`."""
    logger.info(line.text(), extra={"fields": line._asdict()})


# What writes the lines. A worker has a cheaper writer: `runtime/access_lines.py`.
write: Callable[[AccessLine], None] = log


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
        elapsed_ms = round((time.perf_counter() - self._started) * 1000, 1)
        write(AccessLine(self._scope["method"], name, start["status"], elapsed_ms, request.request_id))
