"""Checks the settings of webhooks: the owner's URL, and the secrets that sign what is sent there.

Each error is one sentence, and quotes neither: a URL may contain a password or a token.
"""

import base64
import binascii
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

_PREFIX = "whsec_"
# The sizes that Standard Webhooks allow, bytes.
_SIZES = range(24, 65)
_HOW_TO_MAKE = "make one with: echo whsec_$(openssl rand -base64 32)"


def secret(given: SecretStr | None) -> SecretStr | None:
    """Check the secrets, separated by spaces; return None if there is none.

    Raises:
        ValueError: one of them is not as the specification says.
    """
    written = given.get_secret_value().split() if given is not None else []
    for one in written:
        if not one.startswith(_PREFIX) or _size(one.removeprefix(_PREFIX)) not in _SIZES:
            raise ValueError(f"give {_PREFIX} and the base64 of 24 to 64 random bytes; {_HOW_TO_MAKE}")
    return SecretStr(" ".join(written)) if written else None


def _size(encoded: str) -> int:
    """Return the number of bytes; 0 if it is not base64."""
    try:
        return len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return 0


def url(given: str | None, *, has_secret: bool) -> str | None:
    """Check the URL of the endpoint; return None if it is empty.

    Raises:
        ValueError: the URL can't be used, or nothing would sign what is sent.
    """
    if not given:
        return None
    if not has_secret:
        raise ValueError(f"set CLASSIFIER_WEBHOOK_SECRET too; {_HOW_TO_MAKE}")
    if not _is_usable(given):
        raise ValueError("give a URL like https://shop.example/webhooks, or one with http:// on this machine")
    return given


def _is_usable(given: str) -> bool:
    try:
        parts = urlsplit(given)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.fragment or not given.isascii() or not given.isprintable() or " " in given:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
