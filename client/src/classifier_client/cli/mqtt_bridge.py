"""Takes images from an MQTT broker, and publishes their labels there."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from classifier_client.async_client import AsyncClient
from classifier_client.cli.messages import describe, say
from classifier_client.errors import AuthenticationError, ClassifierError, InvalidImage, PermissionDenied

if TYPE_CHECKING:
    import aiomqtt

_LABELS = "/labels"
_AT_LEAST_ONCE = 1
_RECONNECTS_AFTER_S = 5.0
_PUBLISHES_AGAIN_AFTER_S = 0.2
# The broker is told that this goes, which takes a moment.
_CANCELS_AGAIN_AFTER_S = 1.0
_MOST_WAITING = 100

# What paho and aiomqtt log of a connection that ends; this command says it in words of its own.
_unseen = logging.getLogger(__name__)
_unseen.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Broker:
    """A broker, and the topic on which the images are."""

    host: str
    port: int
    is_encrypted: bool
    user: str | None
    password: str | None
    topic: str


@dataclass(frozen=True)
class Options:
    """How images are answered.

    Attributes:
        to: the topic of the labels; None: the image's own, with `/labels`.
        top_k: how many labels; None: as many as the server answers by default.
        session: the name under which the broker keeps images while this is away; None: it keeps none.
        concurrency: how many images are classified at a time.
    """

    to: str | None
    top_k: int | None
    session: str | None
    concurrency: int


async def watch_always(client: AsyncClient, broker: Broker, options: Options) -> None:
    """Answer images until this is cancelled.

    Raises:
        AuthenticationError, PermissionDenied: the server does not take the key.
    """
    bridge = _Bridge(client, broker, options)
    tasks = [asyncio.create_task(bridge.stay_connected())]
    tasks += [asyncio.create_task(bridge.answer_images()) for _ in range(options.concurrency)]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end(tasks)
        if bridge.unanswered:
            say(f"images that have arrived and got no answer: {bridge.unanswered}.")


async def end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel the tasks until they have ended, also if this is cancelled meanwhile.

    Once is not enough: before Python 3.12, `asyncio.wait_for`, by which aiomqtt waits for the broker, forgets that it
    was cancelled if the broker answers at the same moment.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pending, timeout=_CANCELS_AGAIN_AFTER_S)
    for task in tasks:
        # asyncio logs an exception that nobody asks for.
        if not task.cancelled():
            task.exception()


class _Bridge:
    """Takes images and publishes their labels. What has arrived, and the answers, wait while the broker is away.

    Attributes:
        unanswered: how many images have arrived whose labels the broker does not have yet.
    """

    def __init__(self, client: AsyncClient, broker: Broker, options: Options) -> None:
        self.unanswered = 0
        self._client = client
        self._broker = broker
        self._options = options
        self._images: asyncio.Queue[aiomqtt.Message] = asyncio.Queue(_MOST_WAITING)
        self._connection: aiomqtt.Client | None = None
        self._is_connected = asyncio.Event()

    async def stay_connected(self) -> None:
        """Take images, and connect again whenever the connection ends."""
        from aiomqtt.exceptions import MqttConnectError, MqttError

        missed = "" if self._options.session else " Images that are published meanwhile are lost; see --session."
        while True:
            try:
                await self._take_images()
            except MqttError as error:
                why = "can't be reached, or ended the connection"
                if isinstance(error, MqttConnectError):
                    # Such as `Not authorized`.
                    why = f"refuses the connection ({error.rc})"
                say(f"the broker {self._broker.host} {why}; trying again.{missed}")
                await asyncio.sleep(_RECONNECTS_AFTER_S)

    async def _take_images(self) -> None:
        async with _connection(self._broker, self._options.session) as connection:
            await connection.subscribe(self._broker.topic, qos=_AT_LEAST_ONCE)
            self._connection = connection
            self._is_connected.set()
            say(f"watching {self._broker.topic} on {self._broker.host}; stop with Ctrl+C.")
            try:
                async for message in connection.messages:
                    topic = message.topic.value
                    # A wildcard such as cameras/# matches our own answers, too.
                    if not topic.endswith(_LABELS) and topic != self._options.to:
                        self.unanswered += 1
                        await self._images.put(message)
            finally:
                self._is_connected.clear()

    async def answer_images(self) -> None:
        """Classify one image after the other, and publish the outcome of each."""
        while True:
            message = await self._images.get()
            topic = message.topic.value
            payload = message.payload if isinstance(message.payload, bytes) else b""
            document = await self._classify(topic, payload)
            await self._publish(self._options.to or topic + _LABELS, json.dumps(document))
            self.unanswered -= 1

    async def _classify(self, topic: str, image: bytes) -> dict[str, Any]:
        try:
            return {"topic": topic, **asdict(await self._client.classify(image, top_k=self._options.top_k))}
        except (AuthenticationError, PermissionDenied):
            raise
        except ClassifierError as error:
            if not isinstance(error, InvalidImage):
                say(f"{topic}: {describe(error)}")
            return {
                "topic": topic,
                "error": {name: getattr(error, name) for name in ("status", "detail", "request_id")},
            }

    async def _publish(self, topic: str, text: str) -> None:
        """Publish an answer; if the connection ends before the broker has it, publish it again on the next one."""
        import aiomqtt

        while True:
            await self._is_connected.wait()
            assert self._connection is not None
            try:
                return await self._connection.publish(topic, text, qos=_AT_LEAST_ONCE)
            except aiomqtt.MqttError:
                # The end of a connection is not noticed everywhere at the same moment.
                await asyncio.sleep(_PUBLISHES_AGAIN_AFTER_S)


def _connection(broker: Broker, session: str | None) -> aiomqtt.Client:
    import aiomqtt

    class Waiting(asyncio.Queue[aiomqtt.Message]):
        """What has arrived; an image for which there is no room is left out, and its topic is told."""

        def put_nowait(self, item: aiomqtt.Message) -> None:
            if self.full():
                say(f"{item.topic.value}: {_MOST_WAITING} images wait already, so this one is left out.")
            else:
                super().put_nowait(item)

    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.user,
        password=broker.password,
        tls_params=aiomqtt.TLSParameters() if broker.is_encrypted else None,
        identifier=session,
        clean_session=session is None,
        queue_type=Waiting,
        logger=_unseen,
        max_queued_incoming_messages=_MOST_WAITING,
    )
