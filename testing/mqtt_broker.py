"""A real MQTT broker for tests, in a process of its own, which can be killed and started again."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import aiomqtt

from testing.ports import free_port

_PROGRAM = """
import asyncio, sys
from amqtt.broker import Broker

async def serve():
    await Broker({
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}},
    }).start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


class MqttBroker:
    """A broker that takes any user and password, but nobody without; what it keeps is gone once it is killed.

    Attributes:
        port: the port, the same after each start.
        address: what `classify watch` takes, without the topic.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"mqtt://ada:secret@127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start the broker, and wait until it takes connections."""
        command = [sys.executable, "-c", _PROGRAM, str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        with self._process.stdout as out:
            assert out.readline() == b"ready\n"

    def client(self) -> aiomqtt.Client:
        """Return a client of this broker."""
        return aiomqtt.Client("127.0.0.1", self.port, username="ada", password="secret")

    def kill(self) -> None:
        """End the broker at once, with all its connections."""
        self._process.kill()
        self._process.wait()


@contextmanager
def mqtt_broker() -> Iterator[MqttBroker]:
    """A broker that runs until the end of the context."""
    broker = MqttBroker()
    try:
        yield broker
    finally:
        broker.kill()
