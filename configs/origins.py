"""Reads the origins of web pages, as browsers send them in the header `Origin` (RFC 6454)."""

import re

_MAX_PORT = 65535
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Host names in other alphabets are written as browsers send them: in Punycode ("xn--...", RFC 3492).
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9_.-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?")


def parsed(written: str) -> str:
    """Normalise an origin as browsers do: in lower case, without the scheme's default port.

    Raises:
        ValueError: it is not an origin (RFC 6454).
    """
    found = _ORIGIN.fullmatch(written.lower())
    if found is None or int(found["port"] or 0) > _MAX_PORT:
        raise ValueError("give the origins of web pages, like https://shop.example, separated by commas")
    scheme, host, port = found.group("scheme", "host", "port")
    return f"{scheme}://{host}" + (f":{int(port)}" if port and int(port) != _DEFAULT_PORTS.get(scheme) else "")
