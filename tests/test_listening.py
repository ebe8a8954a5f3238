"""Closing ports: whatever became of a socket meanwhile, the others are closed, and nobody is told of it."""

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from runtime import listening


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def shut_down() -> socket.socket:
    """One that another process has shut down, as happens where the whole group is told to end."""
    opened = listen()
    opened.shutdown(socket.SHUT_RDWR)
    return opened


def closed() -> socket.socket:
    opened = listen()
    opened.close()
    return opened


def left() -> socket.socket:
    """A connection whose other end was reset."""
    with listen() as port:
        ours = socket.create_connection(port.getsockname())
        theirs, _ = port.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        theirs.close()
    return ours


ODD: dict[str, Callable[[], socket.socket]] = {
    "shut down": shut_down,
    "closed": closed,
    "never listened": socket.socket,
    "left by its peer": left,
    "a datagram's": lambda: socket.socket(type=socket.SOCK_DGRAM),
    "a file's": lambda: socket.socket(socket.AF_UNIX),
}


@pytest.fixture
def good() -> Iterator[socket.socket]:
    with listen() as opened:
        yield opened


def is_open(port: socket.socket) -> bool:
    try:
        socket.create_connection(port.getsockname(), timeout=0.2).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("case", ODD)
def test_a_port_is_closed_whatever_is_beside_it(good: socket.socket, case: str) -> None:
    with ODD[case]() as odd:
        listening.close([odd, good, odd])
    assert not is_open(good)


@pytest.mark.parametrize("case", ODD)
def test_the_last_are_let_in_whatever_is_beside_them(good: socket.socket, case: str) -> None:
    waiting = socket.create_connection(good.getsockname())
    with ODD[case]() as odd, waiting:

        async def accept_late() -> None:
            letting_in = asyncio.create_task(listening.drain_accept_queue([odd, good, odd]))
            await asyncio.sleep(4 * listening.LOOKS_EVERY_S)
            # The option takes privileges that a sandbox may not give; then it does not wait.
            assert letting_in.done() is is_open(good)
            good.accept()[0].close()
            await letting_in

        asyncio.run(accept_late())


def test_a_port_may_go_while_it_is_looked_at(good: socket.socket) -> None:
    async def close_meanwhile() -> None:
        with socket.create_connection(good.getsockname()):
            letting_in = asyncio.create_task(listening.drain_accept_queue([good]))
            await asyncio.sleep(1.5 * listening.LOOKS_EVERY_S)
            good.close()
            await letting_in

    asyncio.run(close_meanwhile())
