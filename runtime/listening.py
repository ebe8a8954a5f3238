"""Closes a listening port without losing callers who have already connected."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence

LOOKS_EVERY_S = 0.1
# Looks in a row that must find an empty queue: a caller that has just connected needs a moment to send its request.
CALM_LOOKS = 2
# Together longer than any pause of an event loop: a worker that has not accepted by then is dead.
LOOKS_AT_MOST = 20

SO_BINDTOIFINDEX = 62  # <asm-generic/socket.h>; without privileges since Linux 5.7
NO_INTERFACE = 2**31 - 1
ACCEPT_QUEUE = slice(24, 28)  # tcpi_unacked of struct tcp_info (<linux/tcp.h>), for a socket that listens


async def drain_accept_queue(listening: Sequence[socket.socket]) -> None:
    """Refuse new connections, and wait until other processes have accepted those in the queue of the socket.

    Closing a listening socket resets the connections in its queue, with requests that were sent. Binding the
    socket to an interface that does not exist keeps the queue, and lets no new connection in. Linux only; elsewhere
    nothing happens.
    """
    if sys.platform != "linux":
        return
    draining = [one for one in listening if _stop_new_connections(one)]
    calm = 0
    for _ in range(LOOKS_AT_MOST if draining else 0):
        await asyncio.sleep(LOOKS_EVERY_S)
        calm = 0 if any(_waiting(one) for one in draining) else calm + 1
        if calm == CALM_LOOKS:
            return


def close(listening: Sequence[socket.socket]) -> None:
    """Stop listening, also where other processes hold the same sockets."""
    for one in listening:
        # It may be closed already.
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _stop_new_connections(listening: socket.socket) -> bool:
    """Let no new connection in; return False where the system can't do that."""
    try:
        listening.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)
    except OSError:
        # A sandbox may not know the option, or the socket may be closed already.
        return False
    return True


def _waiting(listening: socket.socket) -> int:
    """Return how many connections wait in the queue."""
    try:
        told = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACCEPT_QUEUE.stop)
    except OSError:
        # It may have been closed meanwhile.
        return 0
    return int.from_bytes(told[ACCEPT_QUEUE], sys.byteorder)
