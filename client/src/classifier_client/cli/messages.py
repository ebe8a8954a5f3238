"""Writes what a person reads: errors as one line on standard error."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Write one line on standard error."""
    print(f"classify: {printable(text)}", file=sys.stderr)


def printable(text: str) -> str:
    """Return the text as one line without commands to the terminal, which the name of a file may hold."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def describe(error: Exception) -> str:
    """Return the error as one line, with the id that the operator of the server can search for."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    request_id = getattr(error, "request_id", None)
    text = " ".join(str(error).split())
    return f"{text} (request {request_id})" if request_id else text
