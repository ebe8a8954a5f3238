"""Reads a `multipart/form-data` body, part by part, within bounds. What the parts mean is known to `uploads.py`."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from api.requests import cut_off
from web.problem import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# The parser reads byte by byte what looks like the end of a part and is none; a real file holds no such thing.
MOST_DELIMITERS = 1_000


@dataclass
class Part:
    """One part of a form.

    Attributes:
        name: its name, as it came.
        file_name: how its file is called, as it came; None where it does not say so.
        is_base64: whether it says that its data is base64.
        chunks: its data, where it is kept.
    """

    name: bytes = b""
    file_name: bytes | None = None
    is_base64: bool = False
    chunks: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        """Its data."""
        return b"".join(self.chunks)


async def read_parts(request: Request, kept: frozenset[bytes], check: Callable[[list[Part]], None]) -> list[Part]:
    """All parts of a form, in order.

    Args:
        request: its body is the form.
        kept: the names of parts whose data is kept.
        check: gets the parts so far, after each of them, and raises the problem where there are too many.

    Raises:
        Problem: 400, 413, or what `check` raises.
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
        raise cut_off() from None
    except FormParserError:
        raise _malformed() from None
    if not form.is_complete:
        raise _malformed()
    return form.parts


class _Form:
    """Puts together what the parser finds."""

    def __init__(self, kept: frozenset[bytes], check: Callable[[list[Part]], None]) -> None:
        self.parts: list[Part] = []
        self.is_complete = False
        self._kept = kept
        self._check = check
        self._header, self._value, self._has_name = b"", b"", False

    def callbacks(self) -> "MultipartCallbacks":
        """What the parser calls."""
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
    """The body from its first delimiter on; what stands before it is for people (RFC 2046, 5.1.1)."""
    # Found at the start of a line, the first one included.
    before, looked = bytearray(b"\r\n"), 0
    async for chunk in chunks:
        before += chunk
        start = before.find(b"\r\n" + delimiter, looked)
        looked = max(0, len(before) - len(delimiter) - 1)
        if start >= 0:
            yield bytes(before[start + 2 :])
            break
    async for chunk in chunks:
        yield chunk


def _malformed() -> Problem:
    asked = "its boundary, CRLF line ends, a name in each part, and the boundary with '--' at the end"
    return Problem(400, f"The multipart body is malformed; let an HTTP library write it, with {asked}.")
