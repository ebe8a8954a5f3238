"""The calls that the server takes: what is sent, how the answer is read, and whether it may be sent again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from classifier_client import parsing
from classifier_client.errors import InvalidImage
from classifier_client.results import Batch, Classification, Key, Limit, Model, NewKey, UsageBucket

T = TypeVar("T")

_BYTES, _JSON, _JSON_LINES = "application/octet-stream", "application/json", "application/x-ndjson"


class Repeat(Enum):
    """When a call may be sent again.

    Attributes:
        ALWAYS: also if its answer was lost: it has no effect, or the server knows it again.
        IF_REFUSED: if it never arrived, or the server refused it for now.
        IF_UNSENT: if it never arrived, or the limit was reached.
    """

    ALWAYS = 1
    IF_REFUSED = 2
    IF_UNSENT = 3


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call of the server. All tries of a call send the same bytes and the same headers.

    Attributes:
        method: the HTTP method.
        path: from the address of the server.
        parse: turns the JSON of the answer into the result.
        params: the query.
        content: the body.
        headers: without the key.
        repeat: when it may be sent again.
        is_streamed: whether the answer is read line by line while it arrives.
    """

    method: str
    path: str
    parse: Callable[[Any], T]
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    repeat: Repeat = Repeat.ALWAYS
    is_streamed: bool = False

    def result(self, body: bytes) -> T:
        """Return the result that the body of the answer holds.

        Raises:
            UnexpectedAnswer: it is no JSON, or not of the shape that this client knows.
        """
        return parsing.parsed(lambda text: self.parse(json.loads(text) if text else None), body)


def classify(image: bytes, top_k: int | None, min_confidence: float | None) -> Call[Classification]:
    """Classify one image file."""
    params = options(top_k, min_confidence)
    headers = {"Content-Type": _BYTES, **_idempotency_key()}
    return Call("POST", "/v2/classify", parsing.classification, params, image, headers)


def classify_batch(images: Sequence[bytes], top_k: int | None, min_confidence: float | None) -> Call[Batch]:
    """Classify several image files in one request."""
    content, content_type = _form(images)
    headers = {"Content-Type": content_type, **_idempotency_key()}
    return Call("POST", "/v2/classify/batch", parsing.batch, options(top_k, min_confidence), content, headers)


def stream_batch(images: Sequence[bytes], top_k: int | None, min_confidence: float | None) -> Call[None]:
    """Classify several image files in one request, with an answer for each as soon as it is done.

    It has no idempotency key: the server answers a request with one only when all images are done.
    """
    content, content_type = _form(images)
    return Call(
        "POST",
        "/v2/classify/batch",
        _nothing,
        options(top_k, min_confidence),
        content,
        {"Content-Type": content_type, "Accept": _JSON_LINES},
        Repeat.IF_REFUSED,
        is_streamed=True,
    )


def models() -> Call[list[Model]]:
    """List the models that the server serves."""
    return Call("GET", "/v2/models", parsing.models)


def limits() -> Call[list[Limit]]:
    """Read the caller's limits."""
    return Call("GET", "/v2/limits", parsing.limits)


def usage(bucket: str, since: str | None, until: str | None, cursor: str | None) -> Call[_UsagePage]:
    """Read one page of the caller's usage; the times are in ISO 8601."""
    named = {"bucket": bucket, "from": since, "to": until, "cursor": cursor}
    return Call("GET", "/v2/usage", parsing.usage, {name: value for name, value in named.items() if value is not None})


def keys() -> Call[list[Key]]:
    """List the caller's keys."""
    return Call("GET", "/v2/keys", parsing.keys)


def rotate_key(key_id: str, grace: str) -> Call[NewKey]:
    """Replace a key. It may not be sent again if the answer was lost, because the new key is in that answer only."""
    content = json.dumps({"grace": grace}).encode()
    path = f"/v2/keys/{quote(key_id, safe='')}/rotate"
    return Call("POST", path, parsing.new_key, {}, content, {"Content-Type": _JSON}, Repeat.IF_UNSENT)


def revoke_key(key_id: str) -> Call[None]:
    """Revoke a key; `self` is the one that the request is sent with."""
    return Call("DELETE", f"/v2/keys/{quote(key_id, safe='')}", _nothing)


def options(top_k: int | None, min_confidence: float | None) -> dict[str, str]:
    """Return the query that says how to answer."""
    named = {"top_k": top_k, "min_confidence": min_confidence}
    return {name: str(value) for name, value in named.items() if value is not None}


def _form(images: Sequence[bytes]) -> tuple[bytes, str]:
    """Return a multipart form with the images, and its content type.

    Raises:
        InvalidImage: there is no image.
    """
    if not images:
        raise InvalidImage("The batch is empty; give at least one image.")
    files = [("image", (f"image-{number}", image, _BYTES)) for number, image in enumerate(images)]
    request = httpx.Request("POST", "http://localhost", files=files)
    return request.read(), request.headers["Content-Type"]


def _idempotency_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def _nothing(_: Any) -> None:
    return None


_UsagePage = tuple[list[UsageBucket], "str | None"]
