"""`classify watch mqtt://host/topic`: classifies the images on an MQTT topic, and publishes their labels on another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from classifier_client.async_client import AsyncClient
from classifier_client.cli import stored_key
from classifier_client.cli.messages import describe, say
from classifier_client.errors import (
    AuthenticationError,
    ClassifierError,
    InvalidImage,
    MissingPackage,
    PermissionDenied,
)

if TYPE_CHECKING:
    import aiomqtt

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_LABELS = "/labels"
_AT_LEAST_ONCE = 1
_RECONNECTS_AFTER_S = 5.0
_CANCELS_AGAIN_AFTER_S = 0.2
# Further images wait at the broker's side of the connection, or are dropped by it.
_MOST_WAITING = 100


@dataclass(frozen=True)
class Broker:
    """A broker, and the topic on which the images are."""

    host: str
    port: int
    is_encrypted: bool
    user: str | None
    password: str | None
    topic: str


def watch(
    address: Annotated[str, typer.Argument(metavar="mqtt://HOST/TOPIC", help="The broker and the images' topic.")],
    to: Annotated[
        str | None,
        typer.Option(help="The topic of the labels; by default the image's topic with /labels."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many labels.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")] = 4,
) -> None:
    """Classify images from the broker until it is stopped."""
    with suppress(KeyboardInterrupt):
        try:
            import aiomqtt  # An extra.
        except ImportError:
            raise MissingPackage("classify watch needs the extra mqtt: pip install './client[mqtt]'.") from None
        broker = parse_address(address)
        if to is not None and aiomqtt.Topic(to).matches(broker.topic):
            raise ValueError("The topic of the labels is one of those with images; choose another with --to.")
        asyncio.run(_until_stopped(_watch_always(broker, to, top_k, concurrency)))


def parse_address(address: str) -> Broker:
    """Parse `mqtt://user:password@host:port/topic`, or `mqtts://…` for TLS.

    Raises:
        ValueError: it is no such address.
    """
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise ValueError("The address must look like mqtt://host/topic or mqtts://host/topic; correct it.") from None
    # A wildcard # of MQTT looks like the fragment of a URL.
    topic = unquote(parts.path.lstrip("/")) + ("#" if address.endswith("#") else "")
    if not parts.hostname or not topic:
        raise ValueError("The address must look like mqtt://host/topic or mqtts://host/topic; correct it.")
    user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    return Broker(parts.hostname, port, parts.scheme == "mqtts", user, password, topic)


async def _until_stopped(watching: Coroutine[Any, Any, None]) -> None:
    """Watch until Ctrl+C, which cancels this task.

    A task is cancelled again until it ends: before Python 3.12, `asyncio.wait_for`, by which aiomqtt waits for the
    broker, forgets that it was cancelled if the broker answers at the same moment.
    """
    task = asyncio.create_task(watching)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_CANCELS_AGAIN_AFTER_S)
        if not task.cancelled():
            # Whatever else ended it matters no more; asyncio logs an exception that nobody asks for.
            task.exception()
        raise
    task.result()


async def _watch_always(broker: Broker, to: str | None, top_k: int | None, concurrency: int) -> None:
    import aiomqtt

    url, key = stored_key.target()
    async with AsyncClient(url, key) as client:
        while True:
            try:
                await _watch(client, broker, to, top_k, concurrency)
            except aiomqtt.MqttError:
                say(f"the broker {broker.host} can't be reached, or ended the connection; trying again.")
                await asyncio.sleep(_RECONNECTS_AFTER_S)


async def _watch(client: AsyncClient, broker: Broker, to: str | None, top_k: int | None, concurrency: int) -> None:
    import aiomqtt

    connection = aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.user,
        password=broker.password,
        tls_params=aiomqtt.TLSParameters() if broker.is_encrypted else None,
        max_queued_incoming_messages=_MOST_WAITING,
    )
    async with connection:
        await connection.subscribe(broker.topic, qos=_AT_LEAST_ONCE)
        say(f"watching {broker.topic} on {broker.host}; stop with Ctrl+C.")

        async def work() -> None:
            async for message in connection.messages:
                await _answer(client, connection, message, to, top_k)

        tasks = [asyncio.create_task(work()) for _ in range(concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(
    client: AsyncClient, connection: aiomqtt.Client, message: aiomqtt.Message, to: str | None, top_k: int | None
) -> None:
    topic = message.topic.value
    if topic.endswith(_LABELS) or topic == to:
        # A wildcard such as cameras/# matches our own answers, too.
        return
    payload = message.payload if isinstance(message.payload, bytes) else b""
    document: dict[str, Any] = {"topic": topic}
    try:
        document |= asdict(await client.classify(payload, top_k=top_k))
    except (AuthenticationError, PermissionDenied):
        raise
    except ClassifierError as error:
        if not isinstance(error, InvalidImage):
            say(f"{topic}: {describe(error)}")
        document["error"] = {name: getattr(error, name) for name in ("status", "detail", "request_id")}
    await connection.publish(to or topic + _LABELS, json.dumps(document), qos=_AT_LEAST_ONCE)
