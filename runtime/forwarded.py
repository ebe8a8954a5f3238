"""Tells uvicorn which proxies to trust: it takes the caller's address and scheme from their `X-Forwarded-` headers."""

from ipaddress import IPv4Network, ip_network


def trusted_hosts(trusted_proxies: str) -> str:
    """Return the networks in the form of uvicorn's `FORWARDED_ALLOW_IPS`; empty: no proxy is trusted.

    A socket that takes IPv4 and IPv6 shows the IPv4 peer 192.0.2.1 as `::ffff:192.0.2.1`, so each IPv4 network is
    written in both forms.

    Args:
        trusted_proxies: networks, separated by commas, such as "10.244.0.0/24,127.0.0.1/32".
    """
    networks = [ip_network(part) for part in trusted_proxies.replace(" ", "").split(",") if part]
    mapped = [
        f"::ffff:{network.network_address}/{96 + network.prefixlen}"
        for network in networks
        if isinstance(network, IPv4Network)
    ]
    return ",".join([*map(str, networks), *mapped])
