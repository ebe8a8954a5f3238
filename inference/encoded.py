"""Images as callers send them: the file itself, or its base64 as curl, browsers, phones and libraries make it."""

import re
from dataclasses import dataclass

import pybase64

from web.problem import Problem


@dataclass(frozen=True)
class FormText:
    """What is text in a part of a form where an image belongs.

    Args:
        text: the text, as it came.
        is_file: whether it came as a file: one that is no base64 is a file that is no image.
    """

    text: bytes
    is_file: bool


# An image as it came: the file itself, its base64, or what a form has in its place.
Encoded = bytes | str | FormText

_DATA_URL = re.compile(r'data:(?:[^,"]|"[^"]*")*;[ \t]*base64[ \t]*,', re.IGNORECASE)
# The name of a file, percent-encoded, and its surroundings. To read more takes time.
_MOST_OF_A_PREFIX = 2_000
_WHITESPACE = b" \t\n\r\f\v"
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
# What a library escapes of base64 in a URL, in the small letters of some.
_ESCAPES = ((b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"="), (b"%0D", b""), (b"%0A", b""), (b"%20", b""))
# Of a photograph as large as a body may be, there are fewer; each step of taking them out keeps everybody waiting.
MOST_ESCAPES = 1_000_000


def image_bytes(encoded: Encoded) -> bytes:
    """The image file that came as itself, in base64, or as a `data:` URL. The largest take 0.3 s: call it in a thread.

    Base64 may have either alphabet (RFC 4648, 4 and 5), though not both, white space anywhere, and no padding.

    Raises:
        Problem: 400.
    """
    if isinstance(encoded, FormText):
        data = _from_form(encoded)
    else:
        data = encoded if isinstance(encoded, bytes) else _from_base64(encoded)
    if not data:
        raise Problem(400, "The image is empty; send an image file, in JSON as base64.", field="image")
    return data


def _from_form(part: FormText) -> bytes:
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
        ValueError: it has both alphabets, or too many escapes.
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
