"""Reads a `multipart/form-data` body, part by part, within limits. `uploads.py` interprets the parts."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from api.requests import connection_closed
from web.problem import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# The parser reads byte by byte where data looks like the end of a part and is not, which is slow. A real file has no
# such data.
MOST_DELIMITERS = 1_000


@dataclass
class Part:
    """One part of a form.

    Attributes:
        name: the name of the part, as received.
        file_name: the name of its file, as received; None if it has none.
        is_base64: whether its header Content-Transfer-Encoding says base64.
        chunks: its data; empty for a part whose data is not kept.
    """

    name: bytes = b""
    file_name: bytes | None = None
    is_base64: bool = False
    chunks: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        """The data of the part."""
        return b"".join(self.chunks)


async def read_parts(request: Request, kept: frozenset[bytes], check: Callable[[list[Part]], None]) -> list[Part]:
    """Return all parts of a form, in order.

    Args:
        request: the request whose body is the form.
        kept: the names of the parts whose data is kept.
        check: called after each part with all parts so far; raises the problem if there are too many.

    Raises:
        Problem: 400, the form is malformed; 413, it is too large; or what `check` raises.
    """
    _, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise _malformed()
    form = _Form(kept, check)
    delimiters = 0
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in _without_preamble(request.stream(), b"--" + boundary):
            delimiters += chunk.count(b"\r\n--" + boundary)
            if delimiters > MOST_DELIMITERS:
                raise _malformed()
            parser.write(chunk)
    except ClientDisconnect:
        raise connection_closed() from None
    except FormParserError:
        raise _malformed() from None
    if not form.is_complete:
        raise _malformed()
    return form.parts


class _Form:
    """Collects the parts of a form through the callbacks of the parser."""

    def __init__(self, kept: frozenset[bytes], check: Callable[[list[Part]], None]) -> None:
        self.parts: list[Part] = []
        self.is_complete = False
        self._kept = kept
        self._check = check
        self._header, self._value, self._has_name = b"", b"", False

    def callbacks(self) -> "MultipartCallbacks":
        """Return the functions that the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_to_header,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        self.parts.append(Part())
        self._has_name = False

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        part, name = self.parts[-1], self._header.lower()
        if name == b"content-disposition":
            _, options = parse_options_header(self._value)
            part.name, part.file_name = options.get(b"name", b""), options.get(b"filename")
            self._has_name = b"name" in options
        elif name == b"content-transfer-encoding":
            part.is_base64 = self._value.strip().lower() == b"base64"
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        if not self._has_name:
            raise _malformed()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        if part.name in self._kept:
            part.chunks.append(data[start:end])

    def _end(self) -> None:
        self._check(self.parts)

    def _complete(self) -> None:
        self.is_complete = True


async def _without_preamble(chunks: AsyncIterator[bytes], delimiter: bytes) -> AsyncIterator[bytes]:
    """Yield the body from its first delimiter on, without the text that may precede it (RFC 2046, 5.1.1)."""
    # A delimiter is at the start of a line. The added line break makes this true for the first line, too.
    received, searched = bytearray(b"\r\n"), 0
    async for chunk in chunks:
        received += chunk
        start = received.find(b"\r\n" + delimiter, searched)
        # The end of what was received may be the first part of a delimiter.
        searched = max(0, len(received) - len(delimiter) - 1)
        if start >= 0:
            yield bytes(received[start + 2 :])
            break
    async for chunk in chunks:
        yield chunk


def _malformed() -> Problem:
    needed = "its boundary, CRLF line ends, a name in each part, and the boundary with '--' at the end"
    return Problem(400, f"The multipart body is malformed; let an HTTP library write it, with {needed}.")
