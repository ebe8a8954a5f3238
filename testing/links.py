"""Simulates a network between a server and its stores that delays and loses packets, as a program sees it over TCP.

Over a network that loses packets, TCP delivers all data in order, but late: a lost packet is sent again after about
200 ms (Linux' shortest time for that), and the data behind it waits. This relay does the same in a process, since the
kernel here may lack the means.

    python -m testing.links PORT TARGET DELAY_MS JITTER_MS LOSS
"""

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from dataclasses import dataclass

from testing.ports import free_port, is_listening
from testing.servers import PROJECT
from testing.waiting import wait_until

RETRANSMIT_AFTER_S = 0.2


@dataclass(frozen=True)
class Network:
    """The properties of a network.

    Attributes:
        delay_ms: the shortest delay in one direction, ms.
        jitter_ms: the largest random addition to the delay, ms.
        loss: the share of packets that are lost, 0 to 1.
    """

    delay_ms: float
    jitter_ms: float
    loss: float


class Link:
    """A relay, in a process of its own, from a port of 127.0.0.1 to a Unix socket.

    Args:
        target: the path of the socket.
        network: the properties of the simulated network.

    Raises:
        AssertionError: the relay does not listen in time.
    """

    def __init__(self, target: str, network: Network) -> None:
        self.port = free_port()
        figures = (network.delay_ms, network.jitter_ms, network.loss)
        command = [sys.executable, "-m", "testing.links", str(self.port), target, *map(str, figures)]
        self._process = subprocess.Popen(command, cwd=PROJECT)
        try:
            wait_until(lambda: is_listening(self.port), "the relay listens")
        except AssertionError:
            self.close()
            raise

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


async def _relay(port: int, target: str, network: Network) -> None:
    chance = random.Random(port)

    async def carry(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        """Forward data in order, each piece after its delay."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while (arriving := await under_way.get())[1]:
                await asyncio.sleep(max(0.0, arriving[0] - time.monotonic()))
                to.write(arriving[1])
                await to.drain()
            to.close()

        delivering = asyncio.create_task(deliver())
        with contextlib.suppress(ConnectionError):
            while piece := await source.read(1460):
                late_s = (network.delay_ms + chance.random() * network.jitter_ms) / 1000
                if chance.random() < network.loss:
                    late_s += RETRANSMIT_AFTER_S
                under_way.put_nowait((time.monotonic() + late_s, piece))
        under_way.put_nowait((0.0, b""))
        with contextlib.suppress(ConnectionError):
            await delivering

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_unix_connection(target)
            await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))
        writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_relay(int(sys.argv[1]), sys.argv[2], Network(*map(float, sys.argv[3:6]))))
