"""Writes results as lines of JSON, and finds out from such a file which images need not be sent again."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from classifier_client.cli.messages import describe
from classifier_client.errors import ClassifierError
from classifier_client.results import Outcome

# The server would give the same answer again: the image is at fault.
_FINAL = frozenset({400, 413, 415, 422})
# How each line begins.
_BEGINNING = '{"file"'


def name_of(file: Path) -> str:
    """Return how a line names its file."""
    return file.as_posix()


def line(outcome: Outcome[Path]) -> str:
    """Return the line for an image: what the server answered, or `error` with `status`, `detail` and `request_id`.

    Bytes of a file name that are no Unicode are written as escapes of JSON, so that the line is UTF-8 and names the
    file.
    """
    document: dict[str, Any] = {"file": name_of(outcome.source)}
    if outcome.result is not None:
        document |= dataclasses.asdict(outcome.result)
    elif isinstance(outcome.error, ClassifierError):
        names = ("status", "detail", "request_id")
        document["error"] = {name: getattr(outcome.error, name) for name in names}
    elif outcome.error is not None:
        document["error"] = {"status": None, "detail": describe(outcome.error), "request_id": None}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def done_in(path: Path) -> set[str]:
    """Return the names of the images that a file has results of. Other lines are ignored.

    Raises:
        OSError: the file can't be read.
    """
    return {name for _, name in _lines(path) if name is not None}


def clean(path: Path) -> set[str]:
    """Remove lines without a result from a file, such as a cut one; return the names of the images that have results.

    The file may be missing, or one that can't be read from its start, such as `/dev/stdout`: then there are no names.

    Raises:
        OSError: the file can't be read or written.
        ValueError: the file holds something else, such as an image.
    """
    if not path.is_file():
        return set()
    done, kept = set[str](), list[str]()
    for text, name in _lines(path):
        if name is not None:
            done.add(name)
            kept.append(text)
        elif not _is_of_classify(text):
            raise ValueError(f"{path} does not hold results of classify; write to another file.")
    if "".join(kept).encode() != path.read_bytes():
        _replace(path.resolve(), "".join(kept))
    return done


@contextmanager
def appended(path: Path) -> Iterator[IO[str]]:
    """Open a file for further lines; errors name the file.

    Raises:
        OSError: the file can't be written.
    """
    file = path.open("a", encoding="utf-8")
    try:
        yield file
        file.close()
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        # What could not be written is not tried again: that would only fail with another error.
        with suppress(OSError):
            file.close()


def _lines(path: Path) -> Iterator[tuple[str, str | None]]:
    """Return each line with the name of the image that it has a result of; None if it has no result."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            document = _document(text)
            error = document.get("error")
            status = error.get("status") if isinstance(error, dict) else None
            is_final = isinstance(status, int) and status in _FINAL
            is_done = text.endswith("\n") and ("error" not in document or is_final)
            yield text, document["file"] if is_done and "file" in document else None


def _document(text: str) -> dict[str, Any]:
    """Return the JSON object of a line that names a file; an empty one for any other line."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) and isinstance(document.get("file"), str) else {}


def _is_of_classify(text: str) -> bool:
    """Tell whether `classify` may have written a line: it is empty, or about an image, perhaps cut off."""
    is_cut = text.startswith(_BEGINNING) or _BEGINNING.startswith(text)
    return not text.strip() or is_cut or bool(_document(text))


def _replace(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent or Path())
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).chmod(path.stat().st_mode)
    Path(temporary).replace(path)
