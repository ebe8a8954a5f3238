"""Formats log lines: as text, as BentoML does, or as JSON, one object a line."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bentoml import server_context

from web import request_id

# The loggers to which BentoML and uvicorn add handlers, and the root.
_WITH_HANDLERS = ("", "bentoml", "uvicorn.error", "circus")
# The caller gets what these loggers say, in an error of this service.
_SILENCED = ("python_multipart",)


class JsonLines(logging.Formatter):
    """One JSON object to a line: time (RFC 3339, UTC), level, logger, component, message, and the request's id.

    A line of the access log has fields of its own too: method, path, status and ms.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`. Of an exception only its kind is told: its text may hold what must not be logged."""
        line = self.start_of_line(record.created, record.levelname, record.name, record.getMessage())
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
        shown = request_id.current.get()
        if shown:
            line["request_id"] = shown
        return json.dumps({**line, **getattr(record, "fields", {})}, ensure_ascii=False)

    @staticmethod
    def start_of_line(unix_s: float, level: str, logger: str, message: str) -> dict[str, Any]:
        """Return the fields that every line has."""
        time = datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": level, "logger": logger, "message": message}
        if server_context.service_name:
            line["component"] = f"{server_context.service_name}:{server_context.worker_index}"
        return line


def use(log_format: str) -> None:
    """Set the format of every log handler of this process: "text", which is BentoML's, or "json"."""
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if log_format == "json":
        for handler in _handlers():
            handler.setFormatter(JsonLines())


def _handlers() -> Iterator[logging.Handler]:
    for name in _WITH_HANDLERS:
        yield from logging.getLogger(name).handlers
