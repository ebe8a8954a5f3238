"""Writes rows of the usage log as text: CSV, JSON lines, or events of CloudEvents 1.0."""

import csv
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

# Four times as fast as the `json` of the standard library.
from pydantic_core import to_json

from storage.clock import MICROSECONDS
from storage.usage_export import ExportedRow

# https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
EVENT_TYPE = "image-classifier.request.v1"
EVENT_SOURCE = "/image-classifier"
HOUR_US = 3600 * MICROSECONDS
FIELDS = ("time", *ExportedRow._fields[1:])

# Writes rows; called once for each page of them.
Write = Callable[[Iterable[ExportedRow]], None]


def writer(format_: str, file: TextIO) -> Write:
    """Return what writes rows to the file.

    Args:
        format_: one of `WRITERS`.
        file: open for text, without translation of line breaks.
    """
    return WRITERS[format_](file)


def _csv(file: TextIO) -> Write:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(FIELDS)

    def write(page: Iterable[ExportedRow]) -> None:
        rows.writerows((_iso(row.at_us), *row[1:]) for row in page)

    return write


def _json_lines(file: TextIO) -> Write:
    return _lines(file, _fields)


def _cloud_events(file: TextIO) -> Write:
    return _lines(file, _event)


def _lines(file: TextIO, document: Callable[[ExportedRow], dict[str, Any]]) -> Write:
    def write(page: Iterable[ExportedRow]) -> None:
        file.write(b"".join(to_json(document(row)) + b"\n" for row in page).decode())

    return write


WRITERS: dict[str, Callable[[TextIO], Write]] = {"csv": _csv, "jsonl": _json_lines, "cloudevents": _cloud_events}


def _fields(row: ExportedRow) -> dict[str, Any]:
    """Return the row by name, with its time in ISO 8601, UTC, to the microsecond."""
    fields = dict(zip(FIELDS, row, strict=True))
    fields["time"] = _iso(row.at_us)
    return fields


def _event(row: ExportedRow) -> dict[str, Any]:
    data = _fields(row)
    return {
        "specversion": "1.0",
        # Unique, so a receiver counts an event that is sent twice only once.
        "id": data.pop("request_id"),
        "source": EVENT_SOURCE,
        "type": EVENT_TYPE,
        "subject": data.pop("user_id"),
        "time": data.pop("time"),
        "datacontenttype": "application/json",
        "data": data,
    }


def _iso(unix_us: int) -> str:
    hour, rest_us = divmod(unix_us, HOUR_US)
    minute, rest_us = divmod(rest_us, 60 * MICROSECONDS)
    second, microsecond = divmod(rest_us, MICROSECONDS)
    return f"{_day_and_hour(hour)}:{minute:02}:{second:02}.{microsecond:06}Z"


# Rows come in the order of their times, nearly; a date takes as long to work out as the rest of its row.
@lru_cache(maxsize=24)
def _day_and_hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).isoformat()[:13]
