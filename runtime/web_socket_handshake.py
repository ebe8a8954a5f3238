"""Tells which requests become a WebSocket: complete handshakes (RFC 6455, 4.2.1) for a path that has one."""

import base64
import binascii
import re
from collections.abc import Sequence

# What the application needs to know. All other headers of a handshake are dropped: nothing reads them.
_KEPT = frozenset(
    (
        b"host",
        b"connection",
        b"upgrade",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"authorization",
        b"origin",
        b"x-request-id",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    )
)
_PLAIN = re.compile(rb"[\x20-\x7e\t]*")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_KEY_BYTES = 16

Headers = Sequence[tuple[bytes, bytes]]


def kept_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers that a handshake needs."""
    return [(name, value) for name, value in headers if name in _KEPT]


def is_complete(target: bytes, headers: Headers) -> bool:
    """Return whether a GET of HTTP/1.1 with `Connection: Upgrade` is a complete handshake, and has no body.

    A handshake that is not complete is an ordinary request, and is answered with a problem.

    Args:
        target: the path and the query.
        headers: all headers, with names in lower case.
    """
    names = [name for name, _ in headers]
    values = dict(headers)
    needed = (b"host", b"upgrade", b"sec-websocket-key", b"sec-websocket-version")
    return (
        all(names.count(name) == 1 for name in needed)
        and values[b"upgrade"].strip().lower() == b"websocket"
        and values[b"sec-websocket-version"].strip() == b"13"
        and _is_key(values[b"sec-websocket-key"])
        and values.get(b"content-length", b"0") == b"0"
        and b"transfer-encoding" not in names
        and names.count(b"authorization") <= 1
        and _TARGET.fullmatch(target) is not None
        and all(_PLAIN.fullmatch(value) for name, value in headers if name in _KEPT)
    )


def is_attempted(method: bytes, headers: Headers) -> bool:
    """Return whether a request asks for a WebSocket, with a complete handshake or without."""
    offered = b",".join(value.lower() for name, value in headers if name == b"upgrade")
    return method == b"GET" and b"websocket" in (one.strip() for one in offered.split(b","))


def head_without_upgrade(line: bytes, headers: Headers) -> bytes:
    """Write the head of a request that stays an ordinary one, from its request line and headers."""
    kept = [b"%s: %s" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([line, *kept, b"", b""])


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value.strip(), validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False
