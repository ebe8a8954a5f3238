"""The client for ordinary (synchronous) code."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import TypeVar

import httpx

from classifier_client import calls, connection, core, web_socket
from classifier_client.core import Pace, Retries, TimeLimits
from classifier_client.errors import AuthenticationError, ClassifierError, PermissionDenied
from classifier_client.images import ImageInput, image_bytes, images_in
from classifier_client.many import check_concurrency, in_order
from classifier_client.results import Batch, BatchEntry, Classification, Key, Limit, Model, NewKey, Outcome, UsageBucket
from classifier_client.sending import Sender
from classifier_client.streams import LinesOfBatch

S = TypeVar("S", bound=ImageInput)


class Client:
    """Calls an image-classifier server. Several threads may share it. Use it in a `with` block, or call `close`.

    Every method raises a `ClassifierError` if the server refuses the call or can't be reached, once it makes no sense
    to try again: see `Retries` and `TimeLimits`.

    Args:
        url: the address of the server; by default that of `IMAGE_API_URL`, or `http://127.0.0.1:3000`.
        api_key: the key; by default that of `IMAGE_API_KEY`.
        time_limits: how long to wait.
        retries: how often to try again.
        transport: what sends the requests, for proxies, certificates and tests.
        pace: the clock, for tests.

    Raises:
        AuthenticationError: there is no key.
        ConnectionFailed: the address is no address of a server.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        time_limits: TimeLimits | None = None,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._core = connection.core(url, api_key, time_limits, retries, pace)
        self._sender = Sender(self._core, transport)

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._core.url

    def __repr__(self) -> str:
        """Return the address; the key gets into no log."""
        return f"Client({self.url!r})"

    def __enter__(self) -> Client:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()

    def classify(
        self, image: ImageInput, *, top_k: int | None = None, min_confidence: float | None = None
    ) -> Classification:
        """Classify one image.

        Args:
            image: a path, bytes, an open file, an image of Pillow or an array of numpy.
            top_k: how many labels; by default 5.
            min_confidence: leave out labels that are less probable (0 to 1).

        Raises:
            OSError: the file can't be read.
        """
        return self._sender.run(calls.classify(image_bytes(image), top_k, min_confidence))

    def classify_batch(
        self, images: Sequence[ImageInput], *, top_k: int | None = None, min_confidence: float | None = None
    ) -> Batch:
        """Classify several images in one request, at most as many as the server takes (32 by default).

        An image that can't be read has an error in its entry; the others are not affected. The arguments are those of
        `classify`.
        """
        return self._sender.run(calls.classify_batch([image_bytes(image) for image in images], top_k, min_confidence))

    def classify_batch_stream(
        self, images: Sequence[ImageInput], *, top_k: int | None = None, min_confidence: float | None = None
    ) -> Iterator[BatchEntry]:
        """Classify several images in one request, and yield each entry as soon as it is there, in any order.

        The arguments are those of `classify_batch`.
        """
        encoded = [image_bytes(image) for image in images]
        lines = LinesOfBatch(len(encoded))
        response = self._sender.open(calls.stream_batch(encoded, top_k, min_confidence))
        try:
            for line in response.iter_lines():
                yield lines.entry(line)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise core.failure(error, self.url).error from None
        finally:
            response.close()
        lines.end()

    def classify_many(
        self,
        images: Iterable[S],
        *,
        concurrency: int = 8,
        top_k: int | None = None,
        min_confidence: float | None = None,
    ) -> Iterator[Outcome[S]]:
        """Classify any number of images, several at a time, and return the outcome of each, in their order.

        Images are taken from the iterable as they are needed. Limits are waited out.

        Args:
            images: the images.
            concurrency: how many requests are under way at a time.
            top_k: as in `classify`.
            min_confidence: as in `classify`.

        Raises:
            AuthenticationError, PermissionDenied: the key is refused, so that no further image makes sense.
        """
        check_concurrency(concurrency)
        stopped = Event()

        def outcome(image: S) -> Outcome[S]:
            try:
                call = calls.classify(image_bytes(image), top_k, min_confidence)
                return Outcome(image, self._sender.run(call, stopped))
            except (AuthenticationError, PermissionDenied):
                raise
            except (ClassifierError, OSError) as error:
                return Outcome(image, error=error)

        return in_order(outcome, images, concurrency, stopped)

    def classify_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        concurrency: int = 8,
        top_k: int | None = None,
        min_confidence: float | None = None,
    ) -> Iterator[Outcome[Path]]:
        """Classify the image files in a folder and the folders in it, sorted by path, as `classify_many` does."""
        files = images_in(folder)
        return self.classify_many(files, concurrency=concurrency, top_k=top_k, min_confidence=min_confidence)

    def stream(
        self,
        images: Iterable[S],
        *,
        top_k: int | None = None,
        min_confidence: float | None = None,
        ahead: int = 4,
    ) -> Iterator[Outcome[S]]:
        """Send images over one WebSocket, such as those of a camera, and return the outcome of each, in order.

        Needs the extra `stream`. Nothing is sent again. An image that can't be read, or is beyond the limit
        (`LimitReached`), has an error as its outcome; the images after it are sent all the same.

        Args:
            images: the images; each is taken when it is its turn to be sent.
            top_k: as in `classify`.
            min_confidence: as in `classify`.
            ahead: how many images may be under way. The first outcome is returned when so many are, or when all were
                sent; for a slow camera, give 1.

        Raises:
            MissingPackage: the extra is not installed.
            ConnectionFailed: the stream ended before the last answer.
        """
        return web_socket.stream(self._core, images, calls.options(top_k, min_confidence), ahead)

    def models(self) -> list[Model]:
        """List the models that the server serves, with their labels."""
        return self._sender.run(calls.models())

    def limits(self) -> list[Limit]:
        """Return your limits, and what is left of them."""
        return self._sender.run(calls.limits())

    def usage(self, bucket: str = "day", since: str | None = None, until: str | None = None) -> list[UsageBucket]:
        """Return your requests in buckets of time, the oldest first.

        Args:
            bucket: `minute`, `hour` or `day`.
            since: the start in ISO 8601, such as `2026-11-01T00:00:00Z`.
            until: the end, exclusive; by default now.
        """
        buckets, cursor = self._sender.run(calls.usage(bucket, since, until, None))
        while cursor is not None:
            page, cursor = self._sender.run(calls.usage(bucket, since, until, cursor))
            buckets += page
        return buckets

    def keys(self) -> list[Key]:
        """List your keys; the key needs the scope `keys`."""
        return self._sender.run(calls.keys())

    def rotate_key(self, key_id: str, grace: str = "0s") -> NewKey:
        """Replace a key by a new one; the old one works for the grace, such as `1h`. Needs the scope `keys`."""
        return self._sender.run(calls.rotate_key(key_id, grace))

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key; `self` is the one that this client sends, for which any scope will do."""
        self._sender.run(calls.revoke_key(key_id))
