"""Images as callers send them: the file itself, or its base64 as curl, browsers, phones and libraries make it."""

import re

import pybase64

from problems.problem import Problem

# An image as it came: the file itself, or its base64.
Encoded = bytes | str

_DATA_URL = re.compile(r'data:(?:[^,"]|"[^"]*")*;[ \t]*base64[ \t]*,', re.IGNORECASE)
# The name of a file, percent-encoded, and its surroundings. To read more takes time.
_MOST_OF_A_PREFIX = 2_000
_WHITESPACE = b" \t\n\r\f\v"
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
# What a library escapes of base64 in a URL, in the small letters of some.
_ESCAPES = ((b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"="), (b"%0D", b""), (b"%0A", b""), (b"%20", b""))


def image_bytes(encoded: Encoded) -> bytes:
    """The image file that came as itself, in base64, or as a `data:` URL.

    Base64 may have either alphabet (RFC 4648, 4 and 5), though not both, white space anywhere, and no padding.

    Raises:
        Problem: 400.
    """
    data = encoded if isinstance(encoded, bytes) else _from_base64(encoded)
    if not data:
        raise Problem(400, "The image is empty; send an image file, in JSON as base64.", field="image")
    return data


def is_base64(text: str) -> bool:
    """Whether `image_bytes` would take it."""
    try:
        return bool(_from_base64(text))
    except Problem:
        return False


def _from_base64(text: str) -> bytes:
    text = text.lstrip() if text[:1].isspace() else text
    is_url = text[:5].lower() == "data:"
    if is_url:
        prefix = _DATA_URL.match(text[:_MOST_OF_A_PREFIX])
        if prefix is None:
            raise _not_base64()
        text = text[prefix.end() :]
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        # What is not written plainly is rare, and to look for it is dear.
        try:
            return pybase64.b64decode(_plain(text.encode("ascii"), is_url), validate=True)
        except ValueError:
            raise _not_base64() from None


def _plain(written: bytes, is_url: bool) -> bytes:
    """The same base64 in one line of the first alphabet, padded.

    Raises:
        ValueError: it has both alphabets.
    """
    if is_url and b"%" in written:
        for escape, meant in _ESCAPES:
            written = written.replace(escape, meant).replace(escape.lower(), meant)
    written = written.translate(None, _WHITESPACE)
    if b"-" in written or b"_" in written:
        if b"+" in written or b"/" in written:
            raise ValueError("two alphabets")
        written = written.translate(_FROM_URL_SAFE)
    return written if written.endswith(b"=") else written + b"=" * (-len(written) % 4)


def _not_base64() -> Problem:
    return Problem(
        400,
        "The image is not valid base64; encode the image file, for example with 'base64 -w0 photo.jpg', "
        "or send a data:image/...;base64, URL.",
        field="image",
    )
