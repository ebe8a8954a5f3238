"""How a port is closed without losing a caller: no new connection begins, and those that were made are accepted."""

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys
from collections.abc import Sequence

LOOKS_EVERY_S = 0.1
# A caller that has just connected sends its request in the meantime.
CALM_LOOKS = 2
# Longer than any pause of an event loop; a worker that has not accepted by then is dead.
LOOKS_AT_MOST = 20

SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>
# Classic BPF (<linux/filter.h>), whose data begins at the TCP header; its flags are byte 13.
DROP_BARE_SYN = (
    (0x30, 0, 0, 13),  # load the flags
    (0x54, 0, 0, 0x12),  # of which SYN and ACK are looked at:
    (0x15, 0, 1, 0x02),  # SYN alone begins a connection,
    (0x06, 0, 0, 0),  # and is dropped;
    (0x06, 0, 0, 0xFFFFFFFF),  # all else passes.
)
ACCEPT_QUEUE = slice(24, 28)  # tcpi_unacked of struct tcp_info (<linux/tcp.h>), for a socket that listens


async def let_in_the_last(listening: Sequence[socket.socket]) -> None:
    """Begins no new connection, and waits until other processes have accepted those that were already made.

    A socket that is closed resets what it has not accepted yet: requests that were sent, and that nobody has read. Who
    connects from now on gets no reply, tries again after a second, and finds the port closed. Linux alone can do this;
    elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    try:
        for one in listening:
            _drop_new(one)
    except OSError:
        # A sandbox may allow no filter.
        return
    calm = 0
    for _ in range(LOOKS_AT_MOST):
        await asyncio.sleep(LOOKS_EVERY_S)
        calm = 0 if any(_not_accepted(one) for one in listening) else calm + 1
        if calm == CALM_LOOKS:
            return


def close(listening: Sequence[socket.socket]) -> None:
    """Refuses connections from now on, also where other processes hold the same sockets."""
    for one in listening:
        # A second signal to end finds it closed.
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _drop_new(listening: socket.socket) -> None:
    steps = b"".join(struct.pack("HBBI", *step) for step in DROP_BARE_SYN)
    program = ctypes.create_string_buffer(steps, len(steps))
    filter_ = struct.pack("HP", len(DROP_BARE_SYN), ctypes.addressof(program))
    listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)


def _not_accepted(listening: socket.socket) -> int:
    """The connections that are made and not accepted."""
    told = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACCEPT_QUEUE.stop)
    return int.from_bytes(told[ACCEPT_QUEUE], sys.byteorder)
