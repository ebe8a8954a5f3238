"""Failed authentication, limited for each client address: an address that goes on sending wrong keys is told to wait.

Kept in the memory of each worker: nothing that a stranger sends may cost a write. A right key is never refused over
the wrong ones of others who share its address.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from storage.policy import Limit

MOST_ADDRESSES = 10_000


class FailureLimit:
    """A sliding window of each address's failures.

    Args:
        limit: how many failures an address may have in a window.
        trusted_proxies: networks whose `X-Forwarded-For` is believed, separated by commas; empty: nobody's.
        clock_s: the time, seconds.
    """

    def __init__(self, limit: Limit, trusted_proxies: str = "", clock_s: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._proxies = [ip_network(part) for part in trusted_proxies.replace(" ", "").split(",") if part]
        self._clock_s = clock_s
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def fail(self, scope: Scope) -> float:
        """Count a failure of the request's address; seconds until the next is allowed, 0 where this one was."""
        address, now_s = self.address(scope), self._clock_s()
        times = self._failures.setdefault(address, deque())
        self._failures.move_to_end(address)
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        while times and times[0] < now_s - self.limit.window_s:
            times.popleft()
        if len(times) >= self.limit.quota:
            return times[0] + self.limit.window_s - now_s
        times.append(now_s)
        return 0.0

    def address(self, scope: Scope) -> str:
        """The address of the client: the peer's, or what trusted proxies say of whom they speak for."""
        peer = scope["client"][0] if scope.get("client") else "unknown"
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        hops = [part.strip() for part in forwarded.decode("latin-1").split(",") if part.strip()]
        # From the nearest hop outwards: the first that is no trusted proxy is the client.
        while hops and self._is_proxy(peer):
            peer = hops.pop()
        return peer

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(_lies_in(parsed, network) for network in self._proxies)


def _lies_in(address: IPv4Address | IPv6Address, network: IPv4Network | IPv6Network) -> bool:
    return address.version == network.version and address in network
