"""Reads streams: a batch's answer in JSON lines, and the messages of a WebSocket. It does no input or output."""

from __future__ import annotations

import json
from typing import Any

from classifier_client import parsing
from classifier_client.errors import ClassifierError, ConnectionFailed, from_problem
from classifier_client.results import BatchEntry, Classification


class LinesOfBatch:
    """Reads the lines of one batch, and knows which images have none yet.

    Args:
        images: the number of images.
    """

    def __init__(self, images: int) -> None:
        self._missing = set(range(images))

    def entry(self, line: str) -> BatchEntry:
        """Return the entry in a line.

        Raises:
            ClassifierError: the line is a problem of the whole request.
        """
        document = parsing.parsed(json.loads, line)
        if isinstance(document, dict) and "index" not in document and "error" in document:
            raise from_problem(document["error"])
        entry = parsing.parsed(_entry, document)
        self._missing.discard(entry.index)
        return entry

    def end(self) -> None:
        """Check that each image has a line.

        Raises:
            ConnectionFailed: the stream ended before.
        """
        if self._missing:
            raise ConnectionFailed(f"The stream ended before {len(self._missing)} images were done; send these again.")


def stream_answer(message: str | bytes) -> Classification | ClassifierError:
    """Return what a message of `/v2/stream` says of the image at its turn: its labels, or why there are none."""
    document = parsing.parsed(json.loads, message)
    if isinstance(document, dict) and "predictions" not in document:
        return from_problem(document)
    return parsing.parsed(parsing.classification, document)


def _entry(document: Any) -> BatchEntry:
    return parsing.batch_entry(int(document["index"]), document)
