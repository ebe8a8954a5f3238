"""Identifies the client of a request for limits: by its IPv4 address, or its IPv6 network of 64 bits."""

from ipaddress import IPv6Address, IPv6Network, ip_address

from starlette.types import Scope


def client_of(scope: Scope) -> str:
    """Return the client's address, or its network. A text that is not an address is returned as it is.

    All addresses of an IPv6 /64 are one client: a network provider gives a single customer at least that many. uvicorn
    has already put the address that a trusted proxy names in `scope["client"]` (see `runtime/forwarded.py`).
    """
    text = scope["client"][0] if scope.get("client") else "unknown"
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if not isinstance(address, IPv6Address):
        return str(address)
    # A socket for both IPv4 and IPv6 shows 192.0.2.1 as `::ffff:192.0.2.1`.
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address) >> 64 << 64, 64)))
