"""Writes rows of the usage log as text: CSV, JSON lines, or events of CloudEvents 1.0."""

import csv
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

# Four times as fast as the `json` of the standard library.
from pydantic_core import to_json

from storage.clock import MICROSECONDS
from storage.usage_export import ExportedRow

# https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
EVENT_TYPE = "image-classifier.request.v1"
EVENT_SOURCE = "/image-classifier"
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
        file.writelines(f"{to_json(document(row)).decode()}\n" for row in page)

    return write


WRITERS: dict[str, Callable[[TextIO], Write]] = {"csv": _csv, "jsonl": _json_lines, "cloudevents": _cloud_events}


def _fields(row: ExportedRow) -> dict[str, Any]:
    """Return the row by name, with its time in ISO 8601, UTC, to the microsecond."""
    return dict(zip(FIELDS, (_iso(row.at_us), *row[1:]), strict=True))


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
    seconds, microseconds = divmod(unix_us, MICROSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:-6]}.{microseconds:06d}Z"
