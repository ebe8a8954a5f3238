"""Whom a request comes from: the peer, or the client that trusted proxies name, as an IPv4 address or an IPv6 /64."""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

# Some proxies name the port too.
_WITH_PORT = re.compile(r"\[(?P<v6>[^]]*)\](:\d+)?|(?P<v4>[\d.]+):\d+")


class ClientAddresses:
    """Tells clients apart. All addresses of an IPv6 /64 are one: that is the least which a single client is given.

    Args:
        trusted_proxies: networks whose `X-Forwarded-For` is believed, separated by commas; empty: nobody's.
    """

    def __init__(self, trusted_proxies: str = "") -> None:
        self._proxies = [ip_network(part) for part in trusted_proxies.replace(" ", "").split(",") if part]

    def of(self, scope: Scope) -> str:
        """The client's address or network; what is no address stands for itself."""
        peer = scope["client"][0] if scope.get("client") else "unknown"
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        hops = [part.strip() for part in forwarded.decode("latin-1").split(",") if part.strip()]
        address = _parse(peer)
        # From the nearest hop outwards: the first that is no trusted proxy is the client.
        while hops and address is not None and self._is_proxy(address):
            peer = hops.pop()
            address = _parse(peer)
        if isinstance(address, IPv6Address):
            return str(IPv6Network((int(address) >> 64 << 64, 64)))
        return peer if address is None else str(address)

    def _is_proxy(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address.version == network.version and address in network for network in self._proxies)


def _parse(written: str) -> IPv4Address | IPv6Address | None:
    with_port = _WITH_PORT.fullmatch(written)
    try:
        address = ip_address((with_port["v6"] or with_port["v4"]) if with_port else written)
    except ValueError:
        return None
    # A socket that takes both kinds shows IPv4 as `::ffff:192.0.2.1`.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
