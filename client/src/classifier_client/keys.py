"""Tells offline whether a text can be a key. A key is `imc_<id>_<secret><checksum>`, in base 62."""

from __future__ import annotations

import re
import string
import zlib

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PATTERN = re.compile(r"(imc_[0-9A-Za-z]{12}_[0-9A-Za-z]{32})([0-9A-Za-z]{6})")


def is_key(text: str) -> bool:
    """Return whether the text has the format of a key, and its checksum is right."""
    match = _PATTERN.fullmatch(text)
    return match is not None and _checksum(match[1]) == match[2]


def key_id(text: str) -> str:
    """Return the public id of a key, which is no secret."""
    return text.split("_")[1]


def _checksum(text: str) -> str:
    """Return the CRC-32 of the text as 6 digits in base 62, as the server computes it."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
