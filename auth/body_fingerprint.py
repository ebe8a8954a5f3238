"""Computes the fingerprint of a request: a retry has the same one, a request with another body does not."""

import hashlib
import json
from typing import Protocol

from python_multipart.multipart import parse_options_header
from starlette.types import Message, Scope

from web import context

# A form with more parts is refused anyway; looking for more would take long.
MOST_DELIMITERS = 1_000


class BodyFingerprint:
    """Hashes a request's path, query, content type and body; the body chunk by chunk, as it arrives.

    The boundary of a form does not count: clients make a new one for each retry.

    Args:
        scope: the request.

    Attributes:
        is_complete: whether the whole body has arrived.
    """

    def __init__(self, scope: Scope) -> None:
        self.is_complete = False
        self._digest = hashlib.sha256()
        types = [value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"]
        media_type, parameters = parse_options_header(types[0] if types else None)
        boundary = parameters.get(b"boundary") if media_type == b"multipart/form-data" else None
        self._parts = _Parts(self._digest, b"\r\n--" + boundary) if boundary else None
        about = [context.of(scope).path, scope["query_string"].decode("latin-1"), types]
        if self._parts is not None:
            about[2] = media_type.decode("latin-1")
        self._digest.update(json.dumps(about).encode())

    def add(self, message: Message) -> None:
        """Add a message that was received."""
        if message["type"] != "http.request":
            return
        (self._parts or self._digest).update(message.get("body", b""))
        self.is_complete = not message.get("more_body", False)

    def hexadecimal(self) -> str:
        """Return the fingerprint, hexadecimal, once the body is complete."""
        if self._parts is not None:
            self._parts.end()
        return self._digest.hexdigest()


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


class _Parts:
    """Hashes the parts of a form, each with its length, and leaves out the delimiters between them.

    Args:
        digest: what to hash with.
        delimiter: a line break, two hyphens and the boundary.
    """

    def __init__(self, digest: _Hash, delimiter: bytes) -> None:
        self._digest = digest
        self._delimiter = delimiter
        self._delimiters = 0
        # A delimiter begins with a line break. With this one, the first delimiter does so, too.
        self._held = b"\r\n"
        self._length = 0

    def update(self, chunk: bytes) -> None:
        """Hash a chunk of the body."""
        data, start = self._held + chunk, 0
        while self._delimiters < MOST_DELIMITERS and (end := data.find(self._delimiter, start)) >= 0:
            self._delimiters += 1
            self._hash(data[start:end])
            self._end_part()
            start = end + len(self._delimiter)
        # The end of what was received may be the first part of a delimiter.
        safe = max(start, len(data) - len(self._delimiter) + 1)
        self._hash(data[start:safe])
        self._held = data[safe:]

    def end(self) -> None:
        """Hash what is left at the end of the body."""
        self._hash(self._held)
        self._held = b""
        self._end_part()

    def _hash(self, data: bytes) -> None:
        self._digest.update(data)
        self._length += len(data)

    def _end_part(self) -> None:
        # With the lengths, no two lists of parts are hashed alike.
        self._digest.update(self._length.to_bytes(8))
        self._length = 0
