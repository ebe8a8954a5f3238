"""`classify watch mqtt://host/topic`: classifies the images on an MQTT topic, and publishes their labels on another."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from classifier_client.async_client import AsyncClient
from classifier_client.cli import stored_key
from classifier_client.cli.mqtt_bridge import Broker, Options, end, watch_always
from classifier_client.errors import MissingPackage

_PORTS = {"mqtt": 1883, "mqtts": 8883}


def watch(
    address: Annotated[str, typer.Argument(metavar="mqtt://HOST/TOPIC", help="The broker and the images' topic.")],
    to: Annotated[
        str | None,
        typer.Option(help="The topic of the labels; by default the image's topic with /labels."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many labels.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")] = 4,
    session: Annotated[
        str | None,
        typer.Option(help="A name of your choice, for which the broker keeps images while this is away."),
    ] = None,
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
        asyncio.run(_until_stopped(broker, Options(to, top_k, session, concurrency)))


def parse_address(address: str) -> Broker:
    """Parse `mqtt://user:password@host:port/topic`, or `mqtts://…` for TLS.

    Raises:
        ValueError: it is no such address.
    """
    wrong = ValueError("The address must look like mqtt://host/topic or mqtts://host/topic; correct it.")
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise wrong from None
    # In a URL, a character of the topic, such as the wildcard #, would begin a query or a fragment.
    topic = unquote(address.partition("://")[2].partition("/")[2].lstrip("/"))
    if not parts.hostname or not parts.path or not topic:
        raise wrong
    user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    return Broker(parts.hostname, port, parts.scheme == "mqtts", user, password, topic)


async def _until_stopped(broker: Broker, options: Options) -> None:
    """Watch until Ctrl+C, which cancels this task."""
    task = asyncio.create_task(_watch(broker, options))
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await end([task])
        raise
    task.result()


async def _watch(broker: Broker, options: Options) -> None:
    url, key = stored_key.target()
    async with AsyncClient(url, key) as client:
        await watch_always(client, broker, options)
