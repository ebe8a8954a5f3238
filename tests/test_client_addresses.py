"""Which client a request counts for: the nearest address that is no trusted proxy, or the /64 of an IPv6 address."""

import asyncio
from typing import Any

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from auth.client_address import client_of
from runtime.forwarded import trusted_hosts


def client(proxies: str, peer: str, *forwarded: str) -> str:
    """What a request from that peer counts for, behind what a worker of uvicorn does with its headers."""
    counted: list[str] = []

    async def app(asked: Any, _receive: Any, _send: Any) -> None:
        counted.append(client_of(asked))

    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    trusting: Any = ProxyHeadersMiddleware(app, trusted_hosts(proxies))
    asyncio.run(trusting({"type": "http", "client": (peer, 1), "headers": headers}, None, None))
    return counted[0]


def test_addresses_are_told_from_the_nearest_hop_outwards() -> None:
    ours = "10.0.0.0/8, fd00::/8"
    assert client("", "10.0.0.1", "192.0.2.1") == "10.0.0.1"
    assert client("", "127.0.0.1", "192.0.2.1") == "127.0.0.1"
    assert client(ours, "192.0.2.9", "192.0.2.1") == "192.0.2.9"
    assert client(ours, "10.0.0.1", "192.0.2.1, 10.0.0.2") == "192.0.2.1"
    assert client(ours, "fd00::1", "192.0.2.1", "10.0.0.2") == "192.0.2.1"
    assert client(ours, "10.0.0.1", "not an address") == "not an address"
    assert client(ours, "10.0.0.1") == "10.0.0.1"


@pytest.mark.parametrize(
    ("written", "known_as"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:0db8:0001:0002:0000::99", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_an_ipv6_client_is_its_64(written: str, known_as: str) -> None:
    assert client("10.0.0.0/8", written) == known_as
    assert client("10.0.0.0/8", "10.0.0.1", written) == known_as
    assert client("10.0.0.0/8", "::ffff:10.0.0.1", written) == known_as


def test_a_port_that_a_proxy_names_is_no_other_client() -> None:
    for port in (1, 65535):
        assert client("10.0.0.0/8", "10.0.0.1", f"192.0.2.1:{port}") == "192.0.2.1"
        assert client("10.0.0.0/8", "10.0.0.1", f"[2001:db8::1]:{port}") == "2001:db8::/64"
    assert client("10.0.0.0/8", "10.0.0.1", "[2001:db8::1]") == "2001:db8::/64"
