"""How lines of the log are written: for people to read, as BentoML does, or as JSON for machines, a document a line."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bentoml import server_context

from web import request_id

# Those that BentoML and its HTTP server give handlers, beside the root.
_WITH_HANDLERS = ("", "bentoml", "uvicorn.error", "circus")
# What they say of a request is told to its caller, in words of our own.
_UNHEARD = ("python_multipart",)


class JsonLines(logging.Formatter):
    """One JSON object to a line: time (RFC 3339, UTC), level, logger, component, message, and the request's id.

    What an access line has to say stands in fields of its own: method, path, status and ms.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`. Of an exception only its kind is told: its text may hold what must not be logged."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if server_context.service_name:
            line["component"] = f"{server_context.service_name}:{server_context.worker_index}"
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
        shown = request_id.current.get()
        if shown:
            line["request_id"] = shown
        return json.dumps({**line, **getattr(record, "fields", {})}, ensure_ascii=False)


def use(log_format: str) -> None:
    """Have every handler of this process write "text", as it does by itself, or "json"."""
    for name in _UNHEARD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if log_format == "json":
        for handler in _handlers():
            handler.setFormatter(JsonLines())


def _handlers() -> Iterator[logging.Handler]:
    for name in _WITH_HANDLERS:
        yield from logging.getLogger(name).handlers
