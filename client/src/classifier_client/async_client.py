"""The client for asyncio."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import httpx

from classifier_client import calls, connection, core, web_socket
from classifier_client.core import Pace, Retries, TimeLimits
from classifier_client.errors import AuthenticationError, ClassifierError, PermissionDenied
from classifier_client.images import ImageInput, image_bytes, images_in
from classifier_client.many import AHEAD, check_concurrency
from classifier_client.results import Batch, BatchEntry, Classification, Key, Limit, Model, NewKey, Outcome, UsageBucket
from classifier_client.sending import AsyncSender
from classifier_client.streams import LinesOfBatch

S = TypeVar("S", bound=ImageInput)


class AsyncClient:
    """Calls an image-classifier server from asyncio. Use it in an `async with` block, or call `close`.

    Arguments, methods and errors are those of `Client`. Files are read, and arrays are encoded, in threads.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        time_limits: TimeLimits | None = None,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._core = connection.core(url, api_key, time_limits, retries, pace)
        self._sender = AsyncSender(self._core, transport)

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._core.url

    def __repr__(self) -> str:
        """Return the address; the key gets into no log."""
        return f"AsyncClient({self.url!r})"

    async def __aenter__(self) -> AsyncClient:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()

    async def classify(
        self, image: ImageInput, *, top_k: int | None = None, min_confidence: float | None = None
    ) -> Classification:
        """Classify one image: see `Client.classify`."""
        encoded = await asyncio.to_thread(image_bytes, image)
        return await self._sender.run(calls.classify(encoded, top_k, min_confidence))

    async def classify_batch(
        self, images: Sequence[ImageInput], *, top_k: int | None = None, min_confidence: float | None = None
    ) -> Batch:
        """Classify several images in one request: see `Client.classify_batch`."""
        return await self._sender.run(calls.classify_batch(await _encoded(images), top_k, min_confidence))

    async def classify_batch_stream(
        self, images: Sequence[ImageInput], *, top_k: int | None = None, min_confidence: float | None = None
    ) -> AsyncIterator[BatchEntry]:
        """Yield each entry as soon as it is there: see `Client.classify_batch_stream`."""
        encoded = await _encoded(images)
        lines = LinesOfBatch(len(encoded))
        response = await self._sender.open(calls.stream_batch(encoded, top_k, min_confidence))
        try:
            async for line in response.aiter_lines():
                yield lines.entry(line)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise core.failure(error, self.url).error from None
        finally:
            await response.aclose()
        lines.end()

    async def classify_many(
        self,
        images: Iterable[S],
        *,
        concurrency: int = 8,
        top_k: int | None = None,
        min_confidence: float | None = None,
    ) -> AsyncIterator[Outcome[S]]:
        """Classify any number of images, several at a time, in order: see `Client.classify_many`."""
        check_concurrency(concurrency)
        turns = asyncio.Semaphore(concurrency)

        async def outcome(image: S) -> Outcome[S]:
            async with turns:
                try:
                    return Outcome(image, await self.classify(image, top_k=top_k, min_confidence=min_confidence))
                except (AuthenticationError, PermissionDenied):
                    raise
                except (ClassifierError, OSError) as error:
                    return Outcome(image, error=error)

        left, waiting = iter(images), deque[asyncio.Task[Outcome[S]]]()
        try:
            waiting.extend(asyncio.create_task(outcome(image)) for image in islice(left, concurrency * AHEAD))
            while waiting:
                done = await waiting[0]
                waiting.popleft()
                waiting.extend(asyncio.create_task(outcome(image)) for image in islice(left, 1))
                yield done
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def classify_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        concurrency: int = 8,
        top_k: int | None = None,
        min_confidence: float | None = None,
    ) -> AsyncIterator[Outcome[Path]]:
        """Classify the image files in a folder: see `Client.classify_folder`."""
        files = images_in(folder)
        return self.classify_many(files, concurrency=concurrency, top_k=top_k, min_confidence=min_confidence)

    def stream(
        self,
        images: Iterable[S] | AsyncIterable[S],
        *,
        top_k: int | None = None,
        min_confidence: float | None = None,
        ahead: int = 4,
    ) -> AsyncIterator[Outcome[S]]:
        """Send images over one WebSocket: see `Client.stream`. They may come from an asynchronous iterable."""
        return web_socket.stream_async(self._core, images, calls.options(top_k, min_confidence), ahead)

    async def models(self) -> list[Model]:
        """List the models that the server serves, with their labels."""
        return await self._sender.run(calls.models())

    async def limits(self) -> list[Limit]:
        """Return your limits, and what is left of them."""
        return await self._sender.run(calls.limits())

    async def usage(self, bucket: str = "day", since: str | None = None, until: str | None = None) -> list[UsageBucket]:
        """Return your requests in buckets of time: see `Client.usage`."""
        buckets, cursor = await self._sender.run(calls.usage(bucket, since, until, None))
        while cursor is not None:
            page, cursor = await self._sender.run(calls.usage(bucket, since, until, cursor))
            buckets += page
        return buckets

    async def keys(self) -> list[Key]:
        """List your keys; the key needs the scope `keys`."""
        return await self._sender.run(calls.keys())

    async def rotate_key(self, key_id: str, grace: str = "0s") -> NewKey:
        """Replace a key by a new one: see `Client.rotate_key`."""
        return await self._sender.run(calls.rotate_key(key_id, grace))

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key; `self` is the one that this client sends."""
        await self._sender.run(calls.revoke_key(key_id))


async def _encoded(images: Sequence[ImageInput]) -> list[bytes]:
    return await asyncio.to_thread(lambda: [image_bytes(image) for image in images])
