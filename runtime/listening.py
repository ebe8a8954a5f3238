"""How a port is closed without losing a caller: no new connection begins, and those that were made are accepted."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence

LOOKS_EVERY_S = 0.1
# A caller that has just connected sends its request in the meantime.
CALM_LOOKS = 2
# Longer than any pause of an event loop; a worker that has not accepted by then is dead.
LOOKS_AT_MOST = 20

SO_BINDTOIFINDEX = 62  # <asm-generic/socket.h>; without privileges since Linux 5.7
NO_INTERFACE = 2**31 - 1
ACCEPT_QUEUE = slice(24, 28)  # tcpi_unacked of struct tcp_info (<linux/tcp.h>), for a socket that listens


async def let_in_the_last(listening: Sequence[socket.socket]) -> None:
    """Refuses new connections, and waits until other processes have accepted those that were already made.

    A socket that is closed resets what it has not accepted yet: requests that were sent, and that nobody has read. One
    that is bound to an interface that does not exist keeps them, while nobody finds it any more. Linux alone can do
    this; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    found_by_nobody = [one for one in listening if _takes_no_more(one)]
    calm = 0
    for _ in range(LOOKS_AT_MOST if found_by_nobody else 0):
        await asyncio.sleep(LOOKS_EVERY_S)
        calm = 0 if any(_not_accepted(one) for one in found_by_nobody) else calm + 1
        if calm == CALM_LOOKS:
            return


def close(listening: Sequence[socket.socket]) -> None:
    """Refuses connections from now on, also where other processes hold the same sockets."""
    for one in listening:
        # It may be closed already.
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _takes_no_more(listening: socket.socket) -> bool:
    """Have it found by nobody any more, where that can be had."""
    try:
        listening.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)
    except OSError:
        # A sandbox may not know the option, and the socket may be closed already.
        return False
    return True


def _not_accepted(listening: socket.socket) -> int:
    """The connections that are made and not accepted."""
    try:
        told = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACCEPT_QUEUE.stop)
    except OSError:
        # It may have been closed meanwhile.
        return 0
    return int.from_bytes(told[ACCEPT_QUEUE], sys.byteorder)
