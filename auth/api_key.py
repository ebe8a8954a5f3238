"""Generates, parses and hashes API keys. Nothing here knows where keys are stored.

A key is `imc_<id>_<secret><checksum>`, in base 62: a public id of 12 characters, a secret of 32 characters (190 random
bits), and in 6 characters the CRC-32 of all that precedes it. The checksum detects a typing error without the database
(GitHub's token format has the same parts). The prefix lets secret scanners find leaked keys.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import Self

PREFIX = "imc_"
ID_CHARS = 12
SECRET_CHARS = 32
CHECKSUM_CHARS = 6

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PATTERN = re.compile(
    rf"{PREFIX}(?P<id>[0-9A-Za-z]{{{ID_CHARS}}})_"
    rf"(?P<secret>[0-9A-Za-z]{{{SECRET_CHARS}}})(?P<checksum>[0-9A-Za-z]{{{CHECKSUM_CHARS}}})"
)
# What follows the prefix. A lookahead, since what only looks like a key may overlap one.
_WITHIN = re.compile(rf"(?=([0-9A-Za-z]{{{ID_CHARS}}}_[0-9A-Za-z]{{{SECRET_CHARS + CHECKSUM_CHARS}}}))")
# What may be a key, also one with a typing error or without its prefix.
_LIKE_ONE = re.compile(rf"({PREFIX}[0-9A-Za-z_]+|[0-9A-Za-z]{{{ID_CHARS}}}_[0-9A-Za-z]{{{SECRET_CHARS},}})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in clear text. It exists only while it is made or checked, and is never stored."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """Return a new key, from the system's random numbers."""
        return cls(_random(ID_CHARS), _random(SECRET_CHARS))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a key; return None if its format or its checksum is wrong."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            return None
        key = cls(match["id"], match["secret"])
        return key if _checksum(key._without_checksum()) == match["checksum"] else None

    def reveal(self) -> str:
        """Return the key as text, with its secret and checksum."""
        text = self._without_checksum()
        return text + _checksum(text)

    def secret_sha256(self) -> str:
        """Return the hash that is stored. The secret is long and random, so a fast hash is as safe as a slow one."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def matches(self, secret_sha256: str) -> bool:
        """Return whether this is the hash of the secret. The comparison takes constant time."""
        return hmac.compare_digest(self.secret_sha256(), secret_sha256)

    def _without_checksum(self) -> str:
        return f"{PREFIX}{self.key_id}_{self.secret}"


def holds_key(text: str) -> bool:
    """Return whether a key is anywhere in the text, with or without its prefix. Such a text must not be stored."""
    return any(ApiKey.parse(PREFIX + match[1]) for match in _WITHIN.finditer(text))


def without_keys(text: str) -> str:
    """Return a text, such as an error that quotes what somebody wrote, without anything that may be a key."""
    return _LIKE_ONE.sub(f"{PREFIX}...", text)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), []
    for _ in range(CHECKSUM_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
