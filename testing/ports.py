"""Free ports of this machine for servers of tests: two processes that run tests never choose the same one."""

import atexit
import contextlib
import itertools
import socket
from collections.abc import Iterator
from functools import cache

# Below the ports of outgoing connections: one of those could take the port between the check and the start.
_FIRST, _LAST = 15_000, 32_000
# No process of a test run starts more servers than this while an earlier one still runs.
_BLOCK = 500


def free_port() -> int:
    """Return a port on which nothing listens, and that no other process of this machine gets from this function."""
    while True:
        port = next(_own_ports())
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def is_listening(port: int) -> bool:
    """Return whether something accepts connections on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@cache
def _own_ports() -> Iterator[int]:
    """Return, again and again, the ports of a block that this process has for itself until it ends.

    The name of an abstract Unix socket says that a block is taken: like ports, such names belong to a network
    namespace, and the kernel frees them when the process ends, however it ends.
    """
    for first in range(_FIRST, _LAST, _BLOCK):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0ports of tests {first}")
        except OSError:
            claim.close()
            continue
        atexit.register(claim.close)
        return itertools.cycle(range(first, first + _BLOCK))
    raise AssertionError("every port for tests is taken: end other runs of the tests")
