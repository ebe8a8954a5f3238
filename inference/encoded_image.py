"""Reads images as callers send them: the file itself, or base64 as curl, browsers, phones and libraries write it."""

import re
from dataclasses import dataclass

import pybase64

from web.problem import Problem


@dataclass(frozen=True)
class TextPart:
    """Text in a part of a form that should hold an image.

    Args:
        text: the text, as received.
        is_file: whether the part is a file. A file that is not base64 is taken as it is, and is then not an image.
    """

    text: bytes
    is_file: bool


# An image as received: the file itself, its base64, or text in a part of a form.
EncodedImage = bytes | str | TextPart

_DATA_URL = re.compile(r'data:(?:[^,"]|"[^"]*")*;[ \t]*base64[ \t]*,', re.IGNORECASE)
# How many characters are searched for the end of a `data:` URL's prefix: a percent-encoded file name and some more.
_LONGEST_PREFIX = 2_000
_WHITESPACE = b" \t\n\r\f\v"
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
# The characters of base64 that libraries escape in a URL. Some write the escapes in lower case.
_ESCAPES = ((b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"="), (b"%0D", b""), (b"%0A", b""), (b"%20", b""))
# Even the largest photograph has fewer. Replacing them holds Python's lock, so all other requests wait meanwhile.
MOST_ESCAPES = 1_000_000


def image_bytes(encoded: EncodedImage) -> bytes:
    """Return the image file. The largest take 0.3 s: read those in a thread.

    Base64 may use the standard or the URL-safe alphabet (RFC 4648, sections 4 and 5) but not both, may hold white space
    anywhere, and needs no padding. It may be a `data:` URL.

    Raises:
        Problem: 400, the image is empty, or not valid base64.
    """
    if isinstance(encoded, TextPart):
        data = _from_form(encoded)
    else:
        data = encoded if isinstance(encoded, bytes) else _from_base64(encoded)
    if not data:
        raise Problem(400, "The image is empty; send an image file, in JSON as base64.", field="image")
    return data


def _from_form(part: TextPart) -> bytes:
    try:
        return _from_base64(part.text.decode("latin-1"))
    except Problem:
        if part.is_file:
            return part.text
        detail = "The field 'image' is text that is not base64; send a file in it, with curl as -F image=@photo.jpg."
        raise Problem(400, detail, field="image") from None


def _from_base64(text: str) -> bytes:
    text = text.lstrip() if text[:1].isspace() else text
    is_url = text[:5].lower() == "data:"
    if is_url:
        prefix = _DATA_URL.match(text[:_LONGEST_PREFIX])
        if prefix is None:
            raise _not_base64()
        text = text[prefix.end() :]
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        # Normalise only now: other ways to write base64 are rare, and normalising takes long.
        try:
            return pybase64.b64decode(_normalised(text.encode("ascii"), is_url), validate=True)
        except ValueError:
            raise _not_base64() from None


def _normalised(written: bytes, is_url: bool) -> bytes:
    """Return the same base64 in the standard alphabet, padded, without white space and escapes.

    Raises:
        ValueError: it mixes both alphabets, or has too many escapes.
    """
    escapes = written.count(b"%") if is_url else 0
    if escapes > MOST_ESCAPES:
        raise ValueError("too many escapes")
    if escapes:
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
