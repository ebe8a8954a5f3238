"""API keys: made, read, hashed. Pure: nothing here knows where keys are kept.

A key is `imc_<id>_<secret><checksum>`, all of it base 62: a public id of 12 characters, a secret of 32 (190 random
bits), and a CRC-32 of what stands before it in 6, by which a typo is told without a database (GitHub's token format has
the same parts). The prefix lets secret scanners find leaked keys.
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
_WRITTEN = re.compile(
    rf"{PREFIX}(?P<id>[0-9A-Za-z]{{{ID_CHARS}}})_"
    rf"(?P<secret>[0-9A-Za-z]{{{SECRET_CHARS}}})(?P<checksum>[0-9A-Za-z]{{{CHECKSUM_CHARS}}})"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in clear. It exists while it is made or checked, and is never stored."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """A new key, from the system's random numbers."""
        return cls(_random(ID_CHARS), _random(SECRET_CHARS))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The key that is written so; None where the form or the checksum is wrong."""
        match = _WRITTEN.fullmatch(text)
        if match is None:
            return None
        key = cls(match["id"], match["secret"])
        return key if _checksum(key._checked()) == match["checksum"] else None

    def reveal(self) -> str:
        """The key as its owner writes it."""
        return self._checked() + _checksum(self._checked())

    def secret_sha256(self) -> str:
        """What is stored of the secret. It is long and random, so that a fast hash is as good as a slow one."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def matches(self, secret_sha256: str) -> bool:
        """Whether the stored hash is the hash of this secret, told in constant time."""
        return hmac.compare_digest(self.secret_sha256(), secret_sha256)

    def _checked(self) -> str:
        return f"{PREFIX}{self.key_id}_{self.secret}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), []
    for _ in range(CHECKSUM_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
